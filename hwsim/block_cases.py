"""Cases for the blocks around the array: operands in, and what simulator and golden model expect.

Each maker runs the golden model and the simulator, holds the two against one another, and gives
the words and cycles that the RTL must show. `hwsim.verify_blocks` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.sore import (
    RANK_DEPTH,
    SelectorBeats,
    gather,
    select,
    selector_beats,
    topn_timeline,
)
from hwsim.dataflows.stream import StreamTimeline, pipeline_timeline
from hwsim.dataflows.wuve import update, update_depth
from hwsim.models.nm import compress, nm_mask
from hwsim.models.post import PostMode, post
from hwsim.models.update import UpdateRule, fp16_copy, momentum_update
from hwsim.verify_words import field_bits, pack_words, unpack_field

__all__ = [
    "StreamCase",
    "StreamGaps",
    "Update",
    "post_case",
    "selector_case",
    "selector_words",
    "update_case",
]


@dataclass(frozen=True, kw_only=True)
class StreamGaps:
    """Idle cycles before each beat of a port, used round and round; an empty list is none."""

    i: Sequence[int] = ()
    o: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class StreamCase:
    """One run of a block from reset, `i` to `o`.

    Attributes:
        block: the block's name.
        description: the case in words.
        constants: plain inputs, held for the run.
        words: what goes in at `i`.
        gaps: back-pressure on both sides.
        expected: the simulator's words at `o`.
        timeline: the simulator's cycles.
        golden_error: how the simulator's values differ from the golden model's, None if they agree.
    """

    block: str
    description: str
    words: list[int]
    gaps: StreamGaps
    expected: list[int]
    timeline: StreamTimeline
    golden_error: str | None
    constants: dict[str, int] = field(default_factory=dict)


def selector_case(
    block: str,
    b: NDArray[np.float16],
    *,
    n: int,
    n_max: int,
    m: int,
    lanes: int,
    gaps: StreamGaps | None = None,
) -> StreamCase:
    """Select B[k, n] along k.

    Args:
        block: `sore` or `rank`.
        b: FP16 weights, no NaN.
        n, n_max, m, lanes: the pattern and the hardware's sizes.
        gaps: back-pressure.

    Raises:
        ValueError: sizes that break a rule of the selectors.
    """
    if not 1 <= n <= n_max <= m:
        raise ValueError(f"1 <= n <= n_max <= m must hold, but got n={n}, n_max={n_max}, m={m}")
    gaps = gaps or StreamGaps()
    beats = selector_beats(b, m, lanes)
    values, indices, mask = select(beats, n)
    compact, kept = gather(beats, values, indices, mask)
    golden = compress(b, n, m)
    error = None
    if not (
        _same(compact.values, golden.values)
        and _same(compact.indices, golden.indices)
        and _same(kept, nm_mask(b, n, m, 0))
    ):
        error = "the simulator's selection differs from the golden model's"
    if block == "sore":
        words = _row_words(beats)
        timeline = topn_timeline(beats.lengths, gap_i=gaps.i, gap_o=gaps.o)
    else:
        words = _group_words(beats)
        timeline = pipeline_timeline(len(words), RANK_DEPTH, gap_i=gaps.i, gap_o=gaps.o)
    spare = ((0, 0), (0, n_max - n), (0, 0))
    index_bits = max(1, (m - 1).bit_length())
    expected = pack_words(
        np.concatenate(
            [
                _lanes(field_bits(np.pad(values, spare), 16)),
                _lanes(field_bits(np.pad(indices, spare), index_bits)),
                _lanes(field_bits(mask, 1)),
            ],
            axis=2,
        )
    )
    return StreamCase(
        block=block,
        description=f"{b.shape[0]}x{b.shape[1]} weights at {n}:{m}",
        constants={"n": n},
        words=words,
        gaps=gaps,
        expected=expected,
        timeline=timeline,
        golden_error=error,
    )


def selector_words(
    words: Sequence[int], *, n: int, n_max: int, m: int, lanes: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.bool_]]:
    """Output words of a selector as values, indices and mask in `hwsim.dataflows.sore`'s shapes."""
    index_bits = max(1, (m - 1).bit_length())
    lane = n_max * (16 + index_bits) + m

    def part(start: int, count: int, width: int) -> NDArray:
        x = unpack_field(words, lanes * lane, start, lane, (lanes, count), width)
        return x.transpose(0, 2, 1)

    values = part(0, n_max, 16)[:, :n].astype(np.uint16)
    indices = part(n_max * 16, n_max, index_bits)[:, :n].astype(np.uint8)
    mask = part(n_max * (16 + index_bits), m, 1).astype(np.bool_)
    return values, indices, mask


@dataclass(frozen=True, kw_only=True)
class Update:
    """Operands of a weight update, each [weights]: FP32 `w`, `v`, `gradient`, the mask `keep`."""

    w: NDArray[np.float32]
    v: NDArray[np.float32]
    gradient: NDArray[np.float32]
    keep: NDArray[np.bool_]
    rule: UpdateRule


def update_case(
    given: Update,
    *,
    lanes: int,
    multiplier_latency: int,
    adder_latency: int,
    gaps: StreamGaps | None = None,
) -> StreamCase:
    """Update weights, `lanes` a beat; a last beat that is not full is filled with zeros.

    Raises:
        ValueError: no weights, operands of different shapes, or sizes below 1.
    """
    gaps = gaps or StreamGaps()
    rule = given.rule
    w, v, copy = update(given.w, given.v, given.gradient, given.keep, rule)
    golden_w, golden_v = momentum_update(given.w, given.v, given.gradient, rule, given.keep)
    agree = _same(w, golden_w) and _same(v, golden_v) and _same(copy, fp16_copy(golden_w))
    operands = (given.w, given.v, given.gradient, given.keep)
    words = pack_words(_lane_fields(operands, (32, 32, 32, 1), lanes))
    # the spare lanes of the last beat update zeros that are not kept
    zero = np.zeros(-w.size % lanes, np.float32)
    spare = update(zero, zero, zero, zero != 0, rule)
    parts: list[tuple[NDArray, NDArray]] = list(zip((w, v, copy), spare, strict=True))
    results = [np.concatenate(pair) for pair in parts]
    depth = update_depth(multiplier_latency, adder_latency)
    fields = ("rate", "momentum", "decay", "pruned_decay", "scale")
    scalars = np.array([getattr(rule, name) for name in fields], np.float32).view(np.uint32)
    return StreamCase(
        block="wuve",
        description=f"{w.size} weights, depth {depth}",
        constants=dict(zip(fields, scalars.tolist(), strict=True)),
        words=words,
        gaps=gaps,
        expected=pack_words(_lane_fields(results, (32, 32, 16), lanes)),
        timeline=pipeline_timeline(len(words), depth, gap_i=gaps.i, gap_o=gaps.o),
        golden_error=None if agree else "the simulator's update differs from the golden model's",
    )


def post_case(
    sums: NDArray[np.float32],
    modes: Sequence[PostMode],
    *,
    bias: NDArray[np.float32],
    add_bias: NDArray[np.bool_],
    gate: NDArray[np.bool_],
    adder_latency: int,
    gaps: StreamGaps | None = None,
) -> StreamCase:
    """Beats of sums [beats, cols], each with its own mode.

    The unit has no state, so its values are the golden model's, beat by beat; the simulator is
    its timeline.

    Args:
        sums, bias: FP32 [beats, cols].
        modes: of each beat.
        add_bias: bool [beats], whether the beat's bias is added.
        gate: bool [beats, cols].

    Raises:
        ValueError: operands of different shapes, or a latency below 1.
    """
    gaps = gaps or StreamGaps()
    out = [
        post(sums[i], mode, bias=bias[i] if add_bias[i] else None, gate=gate[i])
        for i, mode in enumerate(modes)
    ]
    values, positive = (np.stack(x) for x in zip(*out, strict=True))
    lanes, depth = sums.shape[1], adder_latency + 1
    words = pack_words(
        _lane_fields((sums, bias, gate), (32, 32, 1), lanes),
        field_bits(np.array(modes), 2),
        field_bits(add_bias, 1),
    )
    return StreamCase(
        block="post",
        description=f"{sums.shape[0]} beats of {lanes} sums, depth {depth}",
        words=words,
        gaps=gaps,
        expected=pack_words(_lane_fields((values, positive), (16, 1), lanes)),
        timeline=pipeline_timeline(len(words), depth, gap_i=gaps.i, gap_o=gaps.o),
        golden_error=None,
    )


def _lane_fields(arrays: Sequence[NDArray], widths: Sequence[int], lanes: int) -> NDArray[np.uint8]:
    """Bit planes [beats, lanes, bits] of arrays of one size; a last beat is filled with zeros."""
    planes = []
    for x, width in zip(arrays, widths, strict=True):
        flat = np.ascontiguousarray(x).ravel()
        bits = flat if flat.dtype == np.bool_ else flat.view(f"u{flat.dtype.itemsize}")
        beats = np.pad(bits, (0, -bits.size % lanes)).reshape(-1, lanes)
        planes.append(field_bits(beats, width))
    return np.concatenate(planes, axis=2)


def _row_words(beats: SelectorBeats) -> list[int]:
    """A word for each row of each group, with `last` on the row that ends it."""
    m = beats.weights.shape[1]
    position = np.arange(m)
    rows = position < beats.lengths[:, None]
    last = position == beats.lengths[:, None] - 1
    return pack_words(field_bits(beats.weights[rows], 16), field_bits(last[rows], 1))


def _group_words(beats: SelectorBeats) -> list[int]:
    """A word for each group, with its length."""
    m = beats.weights.shape[1]
    groups = beats.weights.transpose(0, 2, 1)
    return pack_words(field_bits(groups, 16), field_bits(beats.lengths, m.bit_length()))


def _lanes(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[beats, s, lanes, bits] to [beats, lanes, s * bits]."""
    beats, s, lanes, bits = planes.shape
    return planes.transpose(0, 2, 1, 3).reshape(beats, lanes, s * bits)


def _same(a: ArrayLike, b: ArrayLike) -> bool:
    """Equal bit for bit: -0.0 is not 0.0."""
    x, y = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
