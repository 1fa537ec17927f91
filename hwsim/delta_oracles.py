"""Two cycle laws held against their oracles: EdgeDRNN's layer-step and one Eyeriss v2 PE.

For EdgeDRNN only means over timesteps were published, without the positions of the non-zeros. Here
as many non-zeros as were measured fall on random positions of 100 steps; the compiled law and the
published algorithm, written out below in plain Python, must agree on every step. The measured mean
stands beside: it differs from ours only in what the lanes wait for the scan, since columns and
pipeline follow from the number of non-zeros alone.

For Eyeriss v2 the oracle is the published cycle count where the real masks are given. Without them
random masks of the published densities are counted pair by pair, which checks the law but not the
published numbers.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.delta_rnn import network_cycles
from hwsim.dataflows.mac_skip import effectual_macs
from hwsim.delta_published import EDGEDRNN_HEADLINE, EDGEDRNN_RTL, EYERISS_LAYERS
from hwsim.errors import UserError

__all__ = ["STEPS", "edgedrnn_rows", "eyeriss_rows", "headline_row", "plain_step"]

STEPS = 100
"""Steps a configuration; the measured non-zeros a step have one decimal, so their sum is whole."""

Mask = NDArray[np.bool_]


def edgedrnn_rows() -> list[dict[str, Any]]:
    """One row a measured configuration.

    `cycles` and `oracle` are means over the same random steps, of the compiled law and of the
    plain one; `nnz` is exactly the measured mean. `rtl` is the mean measured on other positions,
    `difference` ours over it, less 1; `waiting` and `waiting_rtl` are the cycles beyond columns and
    pipeline, the latter to within `waiting_error`, half of nnz's last decimal in columns.

    Raises:
        ArithmeticError: law and algorithm differ on a step.
    """
    rows = []
    for seed, given in enumerate(EDGEDRNN_RTL):
        hidden, count = given["hidden"], given["layers"]
        shapes = _shapes(given)
        masks = _scattered(shapes, round(given["nnz"] * STEPS), seed)
        law = network_cycles((x, h, mask) for (x, h), mask in zip(shapes, masks, strict=True))
        plain = [
            plain_step([(x, h, mask[t]) for (x, h), mask in zip(shapes, masks, strict=True)])
            for t in range(STEPS)
        ]
        if law.tolist() != plain:
            raise ArithmeticError(f"EdgeDRNN's law and algorithm differ for {given}")
        nnz = sum(int(mask.sum()) for mask in masks) / STEPS
        column, rest = 3 * hidden / 8, count * (5 * hidden / 8 + 15) - 1
        cycles = int(law.sum()) / STEPS
        rows.append(
            {
                **{name: given[name] for name in ("layers", "inputs", "hidden", "theta")},
                "nnz": nnz,
                "items": given["items"],
                "steps": STEPS,
                "cycles": cycles,
                "oracle": sum(plain) / STEPS,
                "rtl": given["rtl"],
                "difference": cycles / given["rtl"] - 1,
                "waiting": round(cycles - nnz * column - rest, 6),
                "waiting_rtl": round(given["rtl"] - given["nnz"] * column - rest, 6),
                "waiting_error": 0.05 * column,
            }
        )
    return rows


def headline_row() -> dict[str, Any]:
    """EdgeDRNN's published latency and throughput beside the law's, at as many non-zeros a step.

    `effective_gops` counts two operations for every multiply-accumulate of the dense network.
    """
    given = EDGEDRNN_HEADLINE
    shapes = _shapes(given)
    masks = _scattered(shapes, given["nnz"] * STEPS, len(EDGEDRNN_RTL))
    law = network_cycles((x, h, mask) for (x, h), mask in zip(shapes, masks, strict=True))
    seconds = float(law.mean()) / given["clock_hz"]
    macs = sum(3 * h * (x + h) for x, h in shapes)
    return given | {
        "cycles": int(law.sum()) / STEPS,
        "latency_us": 1e6 * seconds,
        "effective_gops": 2e-9 * macs / seconds,
    }


def eyeriss_rows(folder: Path | None = None) -> list[dict[str, Any]]:
    """One row a published layer.

    `masks` says whether they are `real`, then `oracle` is the published cycle count, or `random`,
    then it is the number of pairs of non-zeros, counted one by one. `published` stands beside in
    either case, `uniform` is what densities alone predict.

    Args:
        folder: that holds `L07.npz` and others, or `eyeriss_v2` with them, each with `iacts`
            [pixels, channels] and `weights` [filters, channels]; None for random masks.

    Raises:
        UserError: a file that is there cannot be used.
    """
    rows = []
    for seed, given in enumerate(EYERISS_LAYERS):
        path = None if folder is None else _find(folder, f"{given['layer']}.npz")
        if path is None:
            iacts, weights = _random_masks(given, seed)
            oracle = _pairs(iacts, weights)
        else:
            iacts, weights = _read_masks(path, given)
            oracle = given["published"]
        cycles = effectual_macs(iacts, weights)
        uniform = given["channels"] * given["filters"] * given["pixels"]
        rows.append(
            {
                "layer": given["layer"],
                "masks": "random" if path is None else "real",
                "cycles": cycles,
                "oracle": oracle,
                "published": given["published"],
                "difference": cycles / given["published"] - 1,
                "uniform": round(uniform * given["act_density"] * given["weight_density"]),
            }
        )
    return rows


def plain_step(layers: list[tuple[int, int, Mask]]) -> int:
    """Latency of a step by EdgeDRNN's published algorithm: 8 PEs, a FIFO of 32, plain Python.

    Args:
        layers: (inputs, hidden, bool[inputs + hidden]) of each.
    """
    total = 0
    for inputs, hidden, mask in layers:
        nonzero = {p for p in range(inputs + hidden) if mask[p]}
        free, shift = -9, 0
        ends: list[int] = []
        for n, p in enumerate(sorted(nonzero | {inputs - 1, inputs + hidden - 1})):
            available = p + shift + (0 if p < inputs else 1)
            if n >= 31 and available < ends[n - 31]:  # the FIFO is full
                shift += ends[n - 31] - available
                available = ends[n - 31]
            free = max(available, free) + (3 * hidden // 8 if p in nonzero else 1)
            ends.append(free)
        total += free + 5 * hidden // 8
    return total + 15 * len(layers) - 1


def _shapes(given: dict[str, Any]) -> list[tuple[int, int]]:
    """(inputs, hidden) of each layer."""
    hidden = given["hidden"]
    return [(given["inputs"], hidden), *[(hidden, hidden)] * (given["layers"] - 1)]


def _scattered(shapes: list[tuple[int, int]], count: int, seed: int) -> list[Mask]:
    """Masks bool[STEPS, X + H] of all layers with `count` non-zeros in all, anywhere."""
    items = sum(x + h for x, h in shapes)
    flat = np.zeros(STEPS * items, np.bool_)
    flat[np.random.default_rng(seed).choice(flat.size, count, replace=False)] = True
    ends = np.cumsum([x + h for x, h in shapes])[:-1]
    return np.split(flat.reshape(STEPS, items), ends, axis=1)


def _random_masks(given: dict[str, Any], seed: int) -> tuple[Mask, Mask]:
    rng = np.random.default_rng(seed)
    iacts = rng.random((given["pixels"], given["channels"])) < given["act_density"]
    weights = rng.random((given["filters"], given["channels"])) < given["weight_density"]
    return iacts, weights


def _pairs(iacts: Mask, weights: Mask) -> int:
    """Pairs of a non-zero activation and a non-zero weight of one channel, by the definition."""
    return sum(
        int(np.count_nonzero(iacts[:, c, None] & weights[None, :, c]))
        for c in range(iacts.shape[1])
    )


def _find(folder: Path, name: str) -> Path | None:
    for path in (folder / "eyeriss_v2" / name, folder / name):
        if path.is_file():
            return path
    return None


def _read_masks(path: Path, given: dict[str, Any]) -> tuple[Mask, Mask]:
    try:
        with np.load(path, allow_pickle=False) as file:
            iacts, weights = file["iacts"], file["weights"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError):
        raise UserError(f"{path} must be a .npz file that holds iacts and weights") from None
    wanted = (given["pixels"], given["channels"]), (given["filters"], given["channels"])
    if (iacts.shape, weights.shape) != wanted:
        raise UserError(
            f"{path} must hold iacts {wanted[0]} and weights {wanted[1]}, "
            f"but got {iacts.shape} and {weights.shape}"
        )
    return iacts != 0, weights != 0
