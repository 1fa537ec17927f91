"""The trained three-layer delta CNN of the package, in integers.

Trained by `examples/delta_study.py --synthetic` on scikit-learn's digits that move over a synthetic
background, and stored in `delta_cnn.npz` beside this file: an encoder of 8-bit grey pixels, three
3x3 convolutions (8, 16 and 16 filters, ReLU, 2x2 max-pool) and a linear layer of ten classes that
fits frames of 32 x 32 pixels. The convolutions take frames of any size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.delta import Conv, DeltaEncoder, Linear, Output

__all__ = ["pack", "study_summary", "trained_delta_cnn", "unpack"]

_OUTPUT = ("shift", "bits", "relu", "pool")
_CONV = ("stride", "pad", "groups")
_ENCODER = ("multiplier", "shift", "bits", "signed")


def trained_delta_cnn(*, classifier: bool = True) -> tuple[DeltaEncoder, list[Linear | Conv]]:
    """The encoder, with no state yet, and the layers.

    Args:
        classifier: with the linear layer behind the convolutions, which needs 32 x 32 pixels.
    """
    encoder, layers = unpack(_stored())
    return encoder, layers if classifier else layers[:-1]


def study_summary() -> dict[str, Any]:
    """The headline of docs/delta-training.md: accuracies of baseline, spatial and delta network as
    shares, `density_ratio`, `hidden_ratio`, `mac_ratio`, rates, seeds and the task."""
    return json.loads((resources.files("hwsim.models") / "delta_study.json").read_text("utf-8"))


def pack(encoder: DeltaEncoder, layers: Sequence[Linear | Conv]) -> dict[str, NDArray]:
    """Arrays for `numpy.savez` from which `unpack` makes the same network.

    Raises:
        ValueError: the encoder has a threshold, for which there is no place, or a weight has more
            than 8 bits.
    """
    if encoder.theta is not None:
        raise ValueError(f"the encoder must have the quantise rule, but got theta={encoder.theta}")
    found = {"encoder": np.array([getattr(encoder, key) for key in _ENCODER], np.int64)}
    for i, layer in enumerate(layers):
        if np.abs(layer.weight).max(initial=0) > 127:
            raise ValueError(
                f"a weight must be -127..127, but layer {i} has {np.abs(layer.weight).max()}"
            )
        found[f"{i}.weight"] = layer.weight.astype(np.int8)
        found[f"{i}.bias"] = layer.output.bias.astype(np.int64)
        found[f"{i}.multiplier"] = layer.output.multiplier.astype(np.int32)
        found[f"{i}.output"] = np.array([getattr(layer.output, k) for k in _OUTPUT], np.int64)
        if isinstance(layer, Conv):
            found[f"{i}.conv"] = np.array([getattr(layer, k) for k in _CONV], np.int64)
    return found


def unpack(stored: dict[str, NDArray]) -> tuple[DeltaEncoder, list[Linear | Conv]]:
    """The network that `pack` took apart."""
    multiplier, shift, bits, signed = (int(v) for v in stored["encoder"])
    encoder = DeltaEncoder(multiplier=multiplier, shift=shift, bits=bits, signed=bool(signed))
    layers: list[Linear | Conv] = []
    while f"{len(layers)}.weight" in stored:
        key = f"{len(layers)}."
        shift, bits, relu, pool = (int(v) for v in stored[key + "output"])
        bias, multipliers = (stored[key + k].astype(np.int64) for k in ("bias", "multiplier"))
        output = Output(bias, multipliers, shift, bits, bool(relu), pool)
        weight = stored[key + "weight"].astype(np.int64)
        if key + "conv" in stored:
            stride, pad, groups = (int(v) for v in stored[key + "conv"])
            layers.append(Conv(weight, output, stride, pad, groups))
        else:
            layers.append(Linear(weight, output))
    return encoder, layers


@lru_cache
def _stored() -> dict[str, NDArray]:
    with (resources.files("hwsim.models") / "delta_cnn.npz").open("rb") as handle:
        stored = np.load(handle)
        return {key: stored[key] for key in stored.files}
