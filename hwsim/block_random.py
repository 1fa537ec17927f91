"""Random cases for the blocks around the array: sizes, values of every kind, stalls.

Half of the values are such as training has, the others stress: ties, subnormals, any bits.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hwsim.block_cases import (
    StreamCase,
    StreamGaps,
    Update,
    post_case,
    selector_case,
    update_case,
)
from hwsim.models.post import PostMode
from hwsim.models.update import UpdateRule

__all__ = ["random_gaps", "random_post", "random_selection", "random_update"]

_BEATS = 60
"""Beats of a case at most: several times the depth of the deepest pipeline, which is 37."""


def random_gaps(rng: Generator, longest: int = 4) -> StreamGaps:
    """No stalls, a slow source, a slow sink, or both."""
    slow_i, slow_o = rng.integers(0, 2, 2)

    def gaps(slow: int) -> list[int]:
        return rng.integers(0, longest + 1, int(rng.integers(1, 20))).tolist() if slow else []

    return StreamGaps(i=gaps(slow_i), o=gaps(slow_o))


def random_selection(rng: Generator, block: str, *, lanes: int, n_max: int, m: int) -> StreamCase:
    """Weights of any shape, the last group often short; a sink slow enough to hold groups up."""
    shape = (int(rng.integers(1, 6 * m)), int(rng.integers(1, 2 * lanes + 2)))
    kind = rng.integers(0, 3)
    if kind == 0:
        b = rng.standard_normal(shape).astype(np.float16)
    elif kind == 1:  # few magnitudes: ties
        b = (rng.integers(0, 4, shape) * rng.choice([-0.5, 0.5], shape)).astype(np.float16)
    else:
        bits = rng.integers(0, 0x7C01, shape) | (rng.integers(0, 2, shape) << 15)
        b = bits.astype(np.uint16).view(np.float16)
    n = int(rng.integers(1, n_max + 1))
    longest = 2 * m if block == "sore" else 4
    gaps = StreamGaps(i=random_gaps(rng).i, o=random_gaps(rng, longest).o)
    return selector_case(block, b, n=n, n_max=n_max, m=m, lanes=lanes, gaps=gaps)


def random_update(
    rng: Generator, *, lanes: int, multiplier_latency: int, adder_latency: int
) -> StreamCase:
    """Weights as in training, or any bits with any scalars."""
    count = int(rng.integers(1, _BEATS * lanes))
    if rng.integers(0, 2):
        w, v, gradient = (
            (rng.standard_normal(count) * scale).astype(np.float32) for scale in (0.05, 0.01, 30.0)
        )
        rule = UpdateRule(rate=0.05, momentum=0.9, decay=5e-4, pruned_decay=7e-4, scale=1 / 1024)
    else:
        w, v, gradient = (_any_bits(rng, (count,)) for _ in range(3))
        rate, momentum, decay, pruned_decay, scale = 10.0 ** rng.uniform(-30, 10, 5)
        rule = UpdateRule(
            rate=rate, momentum=momentum, decay=decay, pruned_decay=pruned_decay, scale=scale
        )
    given = Update(w=w, v=v, gradient=gradient, keep=rng.random(count) < 0.25, rule=rule)
    return update_case(
        given,
        lanes=lanes,
        multiplier_latency=multiplier_latency,
        adder_latency=adder_latency,
        gaps=random_gaps(rng),
    )


def random_post(rng: Generator, *, cols: int, adder_latency: int) -> StreamCase:
    """Sums around FP16's whole range, or any bits; every beat its own mode."""
    count = int(rng.integers(1, _BEATS))
    shape = (count, cols)
    if rng.integers(0, 2):
        sums = (rng.standard_normal(shape) * 10.0 ** rng.uniform(-9, 6, shape)).astype(np.float32)
    else:
        sums = _any_bits(rng, shape)
    return post_case(
        sums,
        [PostMode(int(mode)) for mode in rng.integers(0, len(PostMode), count)],
        bias=rng.standard_normal(shape).astype(np.float32),
        add_bias=rng.integers(0, 2, count).astype(np.bool_),
        gate=rng.integers(0, 2, shape).astype(np.bool_),
        adder_latency=adder_latency,
        gaps=random_gaps(rng),
    )


def _any_bits(rng: Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.integers(0, 1 << 32, shape, dtype=np.uint64).astype(np.uint32).view(np.float32)
