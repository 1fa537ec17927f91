"""Cases for the delta engine's units by themselves: encoder with detector, output pass, gate unit.

Each maker takes operands and gives the words that go in, the words that must come out by the golden
model, and the cycles by `hwsim.dataflows.delta_units`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.block_cases import StreamGaps
from hwsim.dataflows.delta_layer import LayerGeometry
from hwsim.dataflows.delta_sim import GATE_BEATS, GATE_DEPTH, OUTPUT_DEPTH
from hwsim.dataflows.delta_units import scanner_timeline, window_timeline
from hwsim.dataflows.stream import StreamTimeline
from hwsim.delta_cases import (
    encoder_config,
    filled,
    fresh,
    pack_config,
    parameter_words,
    words_of,
)
from hwsim.models.delta import DeltaEncoder, Output
from hwsim.models.delta_gru import gates
from hwsim.models.delta_shape import DeltaShape
from hwsim.verify_words import field_bits, pack_words

__all__ = ["UnitCase", "gate_unit_case", "output_unit_case", "scanner_unit_case"]


class UnitCase(NamedTuple):
    """One run of a unit from reset.

    Attributes:
        constants: plain inputs.
        sources: words and gaps of each stream that goes in.
        gaps_o: idle cycles before each result is taken.
        expected: words at `o`.
        timeline: when each is taken.
    """

    constants: dict[str, int]
    sources: dict[str, tuple[list[int], Sequence[int]]]
    gaps_o: Sequence[int]
    expected: list[int]
    timeline: StreamTimeline

    def packed(self, watch: int = 20) -> dict[str, Any]:
        """As `hwsim.rtl.bench_stream` takes it."""
        return {
            "set": self.constants,
            "sources": {port: (words, list(gaps)) for port, (words, gaps) in self.sources.items()},
            "sinks": {"o": (len(self.expected), list(self.gaps_o))},
            "limit": 2 * self.timeline.cycles + 1000,
            "watch": watch,
        }


def scanner_unit_case(
    shape: DeltaShape,
    encoder: DeltaEncoder,
    frames: NDArray,
    geometry: LayerGeometry,
    gaps: StreamGaps | None = None,
) -> UnitCase:
    """Frames [frames, channels, height, width] through the scanner of a layer.

    Events carry the quotient and rest of (coordinate + pad) by the stride.
    """
    gaps, g = gaps or StreamGaps(), geometry
    model = fresh(encoder)
    deltas = filled(
        np.stack([np.moveaxis(model.step(frame), 0, -1) for frame in frames]), shape.detector_width
    )
    sent = deltas != 0
    sent[:, -1, -1, -1] = True
    _, y, x, c = np.nonzero(sent)
    delta = deltas[sent]
    last = (y == g.height - 1) & (x == g.width - 1) & (c == deltas.shape[-1] - 1)
    coordinate = shape.coordinate_bits + 1
    fields = [(delta, shape.delta_bits), (delta != 0, 1), (last, 1), (c, shape.channel_bits)]
    for axis in (y, x):
        fields += [((axis + g.pad) // g.stride, coordinate), ((axis + g.pad) % g.stride, 3)]
    start_q, start_r = divmod(g.pad, g.stride)
    config = {
        "channel_words": g.channel_words(shape.detector_width), "width": g.width,
        "height": g.height, "start_q": start_q, "start_r": start_r, "stride": g.stride,
        **encoder_config(shape, encoder),
    }  # fmt: skip
    width = shape.detector_width
    return UnitCase(
        constants={"config": pack_config(shape, config, partial=True)},
        sources={
            "x": (words_of(filled(np.moveaxis(frames, 1, -1), width), shape.item_bits, width),
                  gaps.i)
        },
        gaps_o=gaps.o,
        expected=pack_words(
            *[field_bits(np.asarray(v).astype(np.int64).view(np.uint64), bits)
              for v, bits in fields]
        ),
        timeline=scanner_timeline(
            sent.reshape(-1, width).sum(1), gap_i=gaps.i, gap_o=gaps.o
        ),
    )  # fmt: skip


def output_unit_case(
    shape: DeltaShape, sums: NDArray, output: Output, gaps: StreamGaps | None = None
) -> UnitCase:
    """Sums [filters, height, width] through the output pass."""
    gaps = gaps or StreamGaps()
    pool, lanes = output.pool, shape.lanes
    filters, height, width = sums.shape
    high, wide = height // pool, width // pool
    whole = sums[:, : high * pool, : wide * pool].reshape(filters, high, pool, wide, pool)
    # the engine's walk: row, column, word of channels, then the window's rows and columns
    order = filled(whole.transpose(1, 3, 2, 4, 0), lanes)
    order = order.reshape(high, wide, pool * pool, -1, lanes).transpose(0, 1, 3, 2, 4)
    words, window = order.shape[2], pool * pool
    place = np.arange(order[..., 0].size).reshape(order.shape[:-1])
    within = place % window
    word = place // window % words
    # sums come when the parameters, a cycle a word, are there
    gap_i = [words + 1, *(gaps.i[1:] or [0] * (place.size - 1))]
    codes = filled(np.moveaxis(output.codes(sums), 0, -1), lanes)
    return UnitCase(
        constants={
            "config": pack_config(
                shape, {"shift": output.shift, "relu": int(output.relu)}, partial=True
            )
        },
        sources={
            "parameters": (parameter_words(shape, output), ()),
            "i": (
                pack_words(
                    field_bits(
                        np.ascontiguousarray(order.reshape(-1, lanes)).view(np.uint64),
                        shape.accumulator_bits,
                    ),
                    field_bits(word.ravel(), shape.parameter_bits),
                    field_bits(within.ravel() == 0, 1),
                    field_bits(within.ravel() == window - 1, 1),
                ),
                gap_i,
            ),
        },
        gaps_o=gaps.o,
        expected=words_of(codes, shape.item_bits, lanes),
        timeline=window_timeline(
            high * wide * words, window, OUTPUT_DEPTH,
            gap_i=gap_i,
            gap_o=gaps.o,
        ),
    )  # fmt: skip


def gate_unit_case(
    shape: DeltaShape, sums: NDArray, old: NDArray, gaps: StreamGaps | None = None
) -> UnitCase:
    """Sums [4, units] in memory order and old states [units] through the gate unit."""
    gaps = gaps or StreamGaps()
    lanes = shape.lanes
    groups = old.size // lanes
    z, r, n_input, n_state = sums
    beats = np.stack([r, z, n_input, n_state, old]).reshape(GATE_BEATS, groups, lanes)
    return UnitCase(
        constants={},
        sources={"i": (words_of(beats.transpose(1, 0, 2), shape.accumulator_bits, lanes), gaps.i)},
        gaps_o=gaps.o,
        expected=words_of(gates(sums, old, shape), shape.item_bits, lanes),
        timeline=window_timeline(groups, GATE_BEATS, GATE_DEPTH, gap_i=gaps.i, gap_o=gaps.o),
    )
