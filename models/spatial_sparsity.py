"""Sparsity within a frame, the baselines of temporal sparsity: which activations count as zero.

ReLU's zeros, thresholds calibrated to a target (CATS, arXiv 2404.08763: the threshold of a layer is
the quantile of its activations' magnitudes), the k largest of a vector, and N:M groups along the
channels (`nm.py`). The L1 loss that trains for few non-zeros is `dal_torch.py`'s method `l1`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsim.models.nm import NMPattern, nm_mask

__all__ = ["above_threshold", "cats_threshold", "density", "nm_activations", "relu", "top_k"]


def relu(x: NDArray) -> NDArray:
    """x where x > 0, else 0."""
    return np.where(x > 0, x, x.dtype.type(0))


def cats_threshold(sample: NDArray, sparsity: float) -> float:
    """The magnitude below which `sparsity` of a calibration sample lies.

    Args:
        sample: activations of one layer, any shape, not empty.
        sparsity: 0..1.

    Raises:
        ValueError: a sparsity outside its range or an empty sample.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be 0..1, but got {sparsity}")
    if not sample.size:
        raise ValueError("a sample must hold at least one activation, but got none")
    return float(np.quantile(np.abs(sample), sparsity))


def above_threshold(x: NDArray, threshold: float) -> NDArray:
    """x where |x| >= threshold, else 0.

    Raises:
        ValueError: a negative threshold.
    """
    if threshold < 0:
        raise ValueError(f"threshold must not be negative, but got {threshold}")
    return np.where(np.abs(x) >= threshold, x, x.dtype.type(0))


def top_k(x: NDArray, k: int) -> NDArray:
    """Of every vector along the last axis the k largest magnitudes, ties to the lowest index.

    Raises:
        ValueError: k is not 0..length.
    """
    if not 0 <= k <= x.shape[-1]:
        raise ValueError(f"k must be 0..{x.shape[-1]}, but got {k}")
    order = np.argsort(-np.abs(x), axis=-1, kind="stable")[..., :k]
    kept = np.zeros_like(x)
    np.put_along_axis(kept, order, np.take_along_axis(x, order, -1), -1)
    return kept


def nm_activations(x: NDArray, pattern: NMPattern, axis: int) -> NDArray:
    """x with N kept of every M along `axis`, by `nm.nm_mask`."""
    return np.where(nm_mask(x, pattern.n, pattern.m, axis), x, x.dtype.type(0))


def density(x: NDArray) -> float:
    """The share of non-zeros.

    Raises:
        ValueError: an empty array.
    """
    if not x.size:
        raise ValueError("density needs at least one element, but got none")
    return float(np.count_nonzero(x) / x.size)
