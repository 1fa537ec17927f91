"""What a WORKLOAD names on a machine that skips zeros: layers with the masks of real inputs.

NAME.npz     `iacts` [pixels, channels] and `weights` [filters, channels]: one layer's masks
NAME.npz     the pruned SqueezeNet's weights by Caffe's names; pictures are the input
NAME.onnx    any network of one input; an array for it is the input
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import UserError
from hwsim.models.masks import MaskedLayer

__all__ = ["MaskedInputs", "load_masked"]

_PICTURES = ("astronaut", "chelsea", "coffee", "rocket")


@dataclass(frozen=True, eq=False)
class MaskedInputs:
    """A network and what its layers see.

    Attributes:
        name: shown in reports.
        inputs: for each input the layers with its masks, in order.
        notes: in sentences.
    """

    name: str
    inputs: tuple[list[MaskedLayer], ...]
    notes: tuple[str, ...] = ()


def load_masked(
    workload: str | Path,
    source: str | Path | None = None,
    dims: Mapping[str, int] | None = None,
) -> MaskedInputs:
    """The masks that a workload names.

    Args:
        workload: a file as above.
        source: a `.npy` file: pictures uint8 [height, width, 3] or [n, height, width, 3] for
            SqueezeNet (None: four of scikit-image), the input [batch, ...] of a network.
        dims: sizes of an ONNX file's free dimensions.

    Raises:
        UserError: a file that cannot be used.
    """
    text = str(workload)
    try:
        if text.endswith(".onnx"):
            return _onnx(text, source, dims)
        if text.endswith(".npz"):
            return _npz(text, source)
    except ValueError as error:
        raise UserError(str(error)) from None
    raise UserError(
        f"workload {text}: a machine that skips zeros takes an .onnx file with --input, or an .npz "
        "file of masks or of the pruned SqueezeNet"
    )


def _npz(path: str, source: str | Path | None) -> MaskedInputs:
    from hwsim.models.squeezenet_masks import load_pruned, prepare, run

    name = Path(path).stem
    masks = _masks(path)
    if masks is not None:
        if source is not None:
            raise ValueError(f"{path} holds masks already: --input must not be given")
        return MaskedInputs(name, ([masks],))
    weights = load_pruned(path)
    notes = ("pictures: " + ", ".join(_PICTURES),) if source is None else ()
    pictures = _example_pictures() if source is None else _pictures(source)
    return MaskedInputs(name, tuple(run(weights, prepare(p))[0] for p in pictures), notes)


def _masks(path: str) -> MaskedLayer | None:
    """The layer of a file of masks; None when the file holds something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if "iacts" not in file.files or "weights" not in file.files:
                return None
            acts, weights = file["iacts"], file["weights"]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:  # a file that is no archive raises one of several errors
        raise ValueError(f"{path} is not a .npz file of numbers") from None
    if acts.ndim != 2 or weights.ndim != 2 or acts.shape[1] != weights.shape[1]:
        raise ValueError(
            f"{path}: iacts [pixels, channels] and weights [filters, channels] must have as many "
            f"channels, but got {acts.shape} and {weights.shape}"
        )
    side = int(np.sqrt(len(acts)))
    height = side if side * side == len(acts) else 1  # a square map where it can be one
    image = (acts != 0).T.reshape(acts.shape[1], height, -1)
    return MaskedLayer(Path(path).stem, image, (weights != 0)[:, :, None, None])


def _example_pictures() -> list[NDArray]:
    try:
        from skimage import data
    except ImportError:
        raise ValueError(
            "the example pictures need scikit-image: pip install scikit-image, or give --input"
        ) from None
    return [getattr(data, name)() for name in _PICTURES]


def _pictures(source: str | Path) -> list[NDArray]:
    array = _array(source)
    return [array] if array.ndim == 3 else list(array)


def _onnx(path: str, source: str | Path | None, dims: Mapping[str, int] | None) -> MaskedInputs:
    from hwsim.models.network_masks import network_masks
    from hwsim.models.onnx_import import load_onnx

    if source is None:
        raise ValueError(f"{path}: masks are those of a real input; give one with --input FILE.npy")
    values = _array(source)
    network = load_onnx(path, batch=max(len(values), 1), dims=dims)
    if len(network.inputs) != 1:
        raise ValueError(f"{path}: the network must have one input, but has {len(network.inputs)}")
    each = network_masks(network, {network.inputs[0]: values.astype(np.float32)})
    return MaskedInputs(network.name, tuple(each), network.notes)


def _array(source: str | Path) -> NDArray:
    try:
        values = np.load(source, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"cannot read {source}: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise ValueError(f"{source} is not a .npy file of numbers") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf" or not values.size:
        raise ValueError(f"{source} must be a .npy file of numbers")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{source}: every value must be finite, but some are not")
    return values
