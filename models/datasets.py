"""Image sets for training: Fashion-MNIST from a folder, scikit-learn's digits for tests.

Fashion-MNIST (arXiv 1708.07747, MIT licence) comes as four gzipped idx files. Nothing is
downloaded: Debian's package `dataset-fashion-mnist` installs them, and any other copy of the same
content is taken, since the checksums are those of the uncompressed content.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.models.digits import digits_data

__all__ = ["FASHION_MNIST_CLASSES", "ImageSet", "digits", "fashion_mnist", "read_idx"]

FASHION_MNIST_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""What labels 0..9 mean."""

# SHA-256 of each file's uncompressed content, computed from Debian's dataset-fashion-mnist
_FASHION_MNIST = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
_HELD_OUT_DIGITS = 360  # the last fifth, as models/digits.py holds out
_UNSIGNED_BYTE = 0x08  # the idx type code of every file here


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Grey images and labels, split as published.

    Attributes:
        name: of the set.
        train_images, test_images: [n, height, width] uint8.
        train_labels, test_labels: [n] int64, 0..classes-1.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        return int(self.train_labels.max()) + 1

    @property
    def side(self) -> int:
        """Height and width in pixels."""
        return int(self.train_images.shape[1])


def fashion_mnist(folder: Path) -> ImageSet:
    """60,000 training and 10,000 test images [28, 28] of ten kinds of clothing.

    Args:
        folder: where the four `*-ubyte.gz` files lie.

    Raises:
        ValueError: the folder or a file is missing, truncated or not the published content.
    """
    if not folder.is_dir():
        raise ValueError(
            "Fashion-MNIST must be a folder of four idx files (Debian's package "
            "dataset-fashion-mnist installs /usr/share/datasets/fashion-mnist), but "
            f"{folder} is no folder"
        )
    arrays = {}
    for name, checksum in _FASHION_MNIST.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(
                f"{folder} must hold the four files of Fashion-MNIST, but {name} is missing"
            )
        arrays[name] = read_idx(path, checksum=checksum)
    train_x, train_y, test_x, test_y = arrays.values()
    return ImageSet(
        "fashion_mnist", train_x, train_y.astype(np.int64), test_x, test_y.astype(np.int64)
    )


def digits() -> ImageSet:
    """scikit-learn's 1,797 handwritten digits [8, 8], grey levels 0..16, the last 360 held out.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    images, labels = digits_data()
    levels = np.rint(images * 16).astype(np.uint8)
    at = len(levels) - _HELD_OUT_DIGITS
    return ImageSet("digits", levels[:at], labels[:at], levels[at:], labels[at:])


def read_idx(path: Path, *, checksum: str = "") -> NDArray[np.uint8]:
    """The array in a gzipped idx file of unsigned bytes.

    Format: two zero bytes, a type code, the number of axes, each axis' length as a big-endian
    32-bit integer, then the elements in row-major order.

    Args:
        path: the file.
        checksum: SHA-256 of the uncompressed content in hexadecimal; empty skips the check.

    Raises:
        ValueError: not gzip, truncated, not idx of unsigned bytes, or another checksum.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except EOFError:
        raise ValueError(f"{path} must be a whole gzip file, but it is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must be a gzip file, but it cannot be unpacked: {error}"
        ) from None
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise ValueError(
            f"{path} must begin with the idx code 00 00 08, but got {content[:3].hex(' ')!r}"
        )
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise ValueError(f"{path} must list {axes} axes, but it is truncated")
    shape = struct.unpack(f">{axes}I", content[4:start])
    want = int(np.prod(shape, dtype=np.int64))
    if len(content) - start != want:
        raise ValueError(
            f"{path} must hold {want} bytes for the shape {shape}, but got {len(content) - start}"
        )
    found = hashlib.sha256(content).hexdigest()
    if checksum and found != checksum:
        raise ValueError(
            f"{path} must have the published content with SHA-256 {checksum}, but got {found}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
