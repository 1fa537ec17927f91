"""Loading Fashion-MNIST: idx files, checksums, and what is said about a bad folder."""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from hwsim.models.datasets import digits, fashion_mnist, read_idx

INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def idx(array: np.ndarray) -> bytes:
    """An idx file's content, written out from the format's definition."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)


def test_idx_files_are_read_in_row_major_order(tmp_path, array):
    path = tmp_path / "a.gz"
    content = idx(array)
    path.write_bytes(gzip.compress(content))
    found = read_idx(path, checksum=hashlib.sha256(content).hexdigest())
    assert found.dtype == np.uint8
    assert (found == array).all()


def test_no_axis_may_be_empty_and_large_at_once(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((0, 28, 28), np.uint8))))
    assert read_idx(path).shape == (0, 28, 28)


def said(path: Path, **options: str) -> str:
    with pytest.raises(ValueError) as caught:
        read_idx(path, **options)
    return str(caught.value).replace(f"{path} ", "")


def test_bad_idx_files_are_told_apart(tmp_path, array):
    path = tmp_path / "a.gz"
    content = idx(array)
    path.write_bytes(gzip.compress(content)[:-20])
    assert said(path) == "must be a whole gzip file, but it is truncated"
    path.write_bytes(content)
    assert said(path).startswith("must be a gzip file, but it cannot be unpacked: Not a gzipped")
    path.write_bytes(gzip.compress(b"\0\0\x0d\x01" + content[4:]))
    assert said(path) == "must begin with the idx code 00 00 08, but got '00 00 0d'"
    path.write_bytes(gzip.compress(b""))
    assert said(path) == "must begin with the idx code 00 00 08, but got ''"
    path.write_bytes(gzip.compress(content[:9]))
    assert said(path) == "must list 3 axes, but it is truncated"
    path.write_bytes(gzip.compress(content[:-1]))
    assert said(path) == "must hold 60 bytes for the shape (5, 4, 3), but got 59"
    path.write_bytes(gzip.compress(content))
    found = hashlib.sha256(content).hexdigest()
    assert said(path, checksum="0" * 64) == (
        f"must have the published content with SHA-256 {'0' * 64}, but got {found}"
    )


def test_a_missing_folder_or_file_says_what_to_install(tmp_path, array):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(
        ValueError, match=r"dataset-fashion-mnist installs /usr/share/datasets"
    ) as e:
        fashion_mnist(nowhere)
    assert str(e.value).endswith(f"but {nowhere} is no folder")
    with pytest.raises(ValueError, match=f"but {FILES[0]} is missing"):
        fashion_mnist(tmp_path)
    for name in FILES:
        (tmp_path / name).write_bytes(gzip.compress(idx(array)))
    with pytest.raises(ValueError, match=re.escape(f"{FILES[0]} must have the published content")):
        fashion_mnist(tmp_path)


def test_the_installed_set_is_whole():
    if not INSTALLED.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    data = fashion_mnist(INSTALLED)
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    assert (np.bincount(data.train_labels) == 6_000).all()
    assert (np.bincount(data.test_labels) == 1_000).all()
    assert (data.classes, data.side) == (10, 28)


def test_digits_hold_out_the_last_360():
    pytest.importorskip("sklearn", reason="the digits need scikit-learn")
    data = digits()
    assert data.train_images.shape == (1437, 8, 8)
    assert data.test_images.shape == (360, 8, 8)
    assert data.train_images.max() == 16
    assert (data.classes, data.side) == (10, 8)
