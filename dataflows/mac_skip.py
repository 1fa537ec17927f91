"""Machines that skip zeros by the masks of a layer: effectual multiplies and published cycle laws.

An effectual multiply has two operands that are not zero. The laws take the masks of a matrix
product, `iacts` [pixels, taps] and `weights` [filters, taps], and give cycles:

    eyeriss_v2    one multiply a cycle and PE, the effectual ones only (arXiv 1807.07928); equal to
                  the Sparseloop artifact's cycles on real masks of a sparse MobileNet
    cnvlutin      (ISCA 2016) non-zero activations in bricks of 16 channels, bricks spread over
                  lanes; a window takes as long as its fullest lane; weights are not looked at
    spartus       (arXiv 2108.02297) active columns spread over arrays; a column takes as long as
                  the fullest of its sub-columns, one a PE; the fullest array decides
    seneca        events of a pixel in groups of four; a pixel without events costs nothing

`hwsim.dataflows.sparten` and `hwsim.dataflows.scnn` have the two that need more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_masks",
    "cnvlutin_cycles",
    "effectual_macs",
    "seneca_cycles",
    "spartus_cycles",
]


def effectual_macs(iacts: ArrayLike, weights: ArrayLike) -> int:
    """Multiplies of which neither operand is zero.

    They are the sum over channels c of nnz(iacts[:, c]) nnz(weights[:, c]), and the cycles of one
    Eyeriss v2 PE that holds the whole product.

    Args:
        iacts: [pixels, channels], values or masks; anything but zero counts.
        weights: [filters, channels].

    Raises:
        ValueError: not two matrices of as many channels.
    """
    acts, kernels = check_masks(iacts, weights)
    of_acts = np.count_nonzero(acts, axis=0).astype(np.int64)
    return int(of_acts @ np.count_nonzero(kernels, axis=0).astype(np.int64))


def cnvlutin_cycles(
    iacts: ArrayLike, filters: int, *, channels: int, lanes: int, brick: int, parallel: int
) -> int:
    """Cycles of Cnvlutin's units.

    Bricks are numbered in memory order: kernel row, kernel column, channels; brick b belongs to
    lane b mod lanes. All units work on the same window, each on its own filters.

    Args:
        iacts: [pixels, taps], the channel innermost.
        filters: of the layer.
        channels: taps that lie side by side; a brick does not reach over them.
        lanes: of activations.
        brick: channels in a brick.
        parallel: filters of all units together; more take another pass.

    Raises:
        ValueError: taps are no multiple of channels.
    """
    acts = _matrix(iacts, "iacts")
    pixels, taps = acts.shape
    if channels < 1 or taps % channels:
        raise ValueError(f"taps must be a multiple of channels, but got {taps} and {channels}")
    in_place = -(-channels // brick)
    padded = np.zeros((pixels, taps // channels, in_place * brick), np.bool_)
    padded[:, :, :channels] = acts.reshape(pixels, -1, channels)
    counts = np.count_nonzero(padded.reshape(pixels, -1, brick), axis=2).astype(np.int64)
    rows = -(-counts.shape[1] // lanes)
    spread = np.zeros((pixels, rows * lanes), np.int64)
    spread[:, : counts.shape[1]] = counts
    windows = spread.reshape(pixels, rows, lanes).sum(axis=1).max(axis=1)
    return int(windows.sum()) * -(-filters // parallel)


def spartus_cycles(
    active: ArrayLike, weights: ArrayLike, *, arrays: int, pes: int
) -> NDArray[np.int64]:
    """Cycles of each step of Spartus: int64[steps].

    Column c belongs to array c mod arrays, row r of it to PE r mod pes. Weights pruned to the same
    number of non-zeros in every sub-column make that number each column's time.

    Args:
        active: [steps, columns], anything but zero is computed on.
        weights: [rows, columns].
        arrays: that share the columns.
        pes: of an array, that share the rows.

    Raises:
        ValueError: not two matrices of as many columns.
    """
    acts, kernels = check_masks(active, weights)
    rows, columns = kernels.shape
    deep = -(-rows // pes)
    padded = np.zeros((deep * pes, columns), np.bool_)
    padded[:rows] = kernels
    fullest = np.count_nonzero(padded.reshape(deep, pes, columns), axis=0).max(axis=0)
    owner = np.arange(columns) % arrays
    time = np.zeros((columns, arrays), np.int64)
    time[np.arange(columns), owner] = fullest
    return (acts.astype(np.int64) @ time).max(axis=1)


def seneca_cycles(
    iacts: ArrayLike, *, fan_out: int, lanes: int, group: int, pixel_cycles: int
) -> int:
    """Cycles of an event-driven core that takes the events of a pixel in groups.

    A pixel with events costs `pixel_cycles`, each of its ceil(events / group) groups
    ceil(fan_out / lanes): the neurons that a group reaches are read and written once for all of it.

    Args:
        iacts: [pixels, channels] of the input map.
        fan_out: neurons that an event reaches: filters times kernel taps.
        lanes: neurons updated a cycle.
        group: events at most.
        pixel_cycles: to decode a pixel's address.
    """
    events = np.count_nonzero(_matrix(iacts, "iacts"), axis=1).astype(np.int64)
    groups = int((-(-events // group)).sum())
    return int((events > 0).sum()) * pixel_cycles + groups * -(-fan_out // lanes)


def check_masks(
    iacts: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both as bool matrices.

    Raises:
        ValueError: not two matrices of as many columns.
    """
    acts, kernels = _matrix(iacts, "iacts"), _matrix(weights, "weights")
    if acts.shape[1] != kernels.shape[1]:
        raise ValueError(
            "iacts [pixels, channels] and weights [filters, channels] must have as many channels, "
            f"but got {acts.shape} and {kernels.shape}"
        )
    return acts, kernels


def _matrix(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be a matrix of numbers, but got shape {array.shape} of {array.dtype}"
        )
    return array if array.dtype == np.bool_ else array != 0
