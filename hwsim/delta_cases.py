"""Cases for the delta engines in RTL: frames in, and what simulator and golden model expect.

Each maker runs the golden model and the simulator, holds their values against one another, and
gives the words and cycles that the RTL must show. `hwsim.verify_delta` runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.delta_gru import gru_work
from hwsim.dataflows.delta_layer import DeltaLayerState, LayerGeometry, layer_work
from hwsim.dataflows.delta_sim import (
    DeltaGaps,
    DeltaTimeline,
    EngineWork,
    MemoryGaps,
    delta_timeline,
)
from hwsim.dataflows.gru_stream import fixed_stream
from hwsim.models.delta import Conv, DeltaEncoder, DeltaNetwork, Linear, Output
from hwsim.models.delta_gru import DeltaGru, GruWeights
from hwsim.models.delta_shape import DeltaShape, FactorBits
from hwsim.verify_words import field_bits, pack_words

__all__ = [
    "DeltaCase",
    "encoder_config",
    "filled",
    "fresh",
    "gru_case",
    "layer_case",
    "pack_config",
    "parameter_words",
    "words_of",
]


@dataclass(frozen=True, kw_only=True)
class DeltaCase:
    """One run of a design from reset.

    Attributes:
        description: the case in words.
        constants: plain inputs, held for the run.
        sources: words and gaps of every stream that goes in.
        memories: words of weights by the numbers of their engine's ports, with its behaviour.
        gaps_o: idle cycles before each result is taken.
        expected: the simulator's words at `o`.
        timeline: the simulator's cycles.
        works: what each engine does, for a timeline with other gaps.
        golden_error: how the simulator's values differ from the golden model's, None if they agree.
        notes: how often sums saturated; of layers, events that read weights, and items scanned.
    """

    description: str
    constants: dict[str, int]
    sources: dict[str, tuple[list[int], Sequence[int]]]
    memories: dict[str, tuple[list[int], MemoryGaps]]
    gaps_o: Sequence[int]
    expected: list[int]
    timeline: DeltaTimeline
    works: Sequence[EngineWork]
    golden_error: str | None
    notes: dict[str, int] = field(default_factory=dict)


def gru_case(
    shape: DeltaShape,
    weights: GruWeights,
    theta: int,
    x: NDArray,
    gaps: DeltaGaps | None = None,
    *,
    golden: bool = True,
) -> DeltaCase:
    """A sequence of steps on the GRU engine.

    Args:
        shape: of the engine.
        weights: of the layer.
        theta: threshold.
        x: integers [steps, X].
        gaps: back-pressure.
        golden: hold the simulator's values against the golden model's.

    Raises:
        ValueError: a layer that does not fit the engine.
    """
    gaps = gaps or DeltaGaps()
    h, nonzero, saturations = fixed_stream(x, weights, shape, theta)
    error = None
    if golden:
        layer = DeltaGru(weights, shape, theta)
        steps = [layer.step(frame) for frame in x]
        if not all(
            (h[t] == state).all() and (nonzero[t] == (delta != 0)).all()
            for t, (state, delta) in enumerate(steps)
        ):
            error = "the simulator's states differ from the golden model's"
    work = gru_work(nonzero, weights.inputs, shape)
    groups = weights.hidden // shape.lanes
    column = 3 * groups
    width = shape.detector_width
    spare = -weights.inputs % width
    constants = {
        "input_words": work.input_words,
        "state_words": weights.hidden // width,
        "groups": groups,
        "column": column,
        "theta": theta,
    }
    _check_fits(
        shape,
        (weights.inputs + spare + weights.hidden) // width,
        4 * groups,
        column * (weights.inputs + spare + weights.hidden),
    )
    columns = np.concatenate(
        [weights.w.T, np.zeros((spare, 3 * weights.hidden), np.int64), weights.r.T]
    )
    return DeltaCase(
        description=f"{len(x)} steps of {weights.inputs} inputs, {weights.hidden} units, "
        f"theta={theta}, {int(nonzero.sum())} of {nonzero.size} items non-zero",
        constants={"config": pack_config(shape, constants)},
        sources={
            "x": (words_of(filled(x, width), shape.item_bits, width), gaps.x),
            "start": (words_of(weights.bias, shape.accumulator_bits, shape.lanes), gaps.start),
        },
        memories={"": (words_of(columns, shape.weight_bits, shape.lanes), _memory(gaps, 0))},
        gaps_o=gaps.o,
        expected=words_of(h, shape.item_bits, shape.lanes),
        timeline=delta_timeline([work], [shape], gaps),
        works=[work],
        golden_error=error,
        notes={"saturations": saturations},
    )


def layer_case(
    shape: DeltaShape,
    encoder: DeltaEncoder,
    layers: Sequence[Linear | Conv],
    frames: NDArray,
    gaps: DeltaGaps | None = None,
    *,
    golden: bool = True,
) -> DeltaCase:
    """Frames through layers, one engine each.

    Args:
        shape: of every engine.
        encoder: of the input; its state is not used.
        layers: with `activation_bits` wide codes. A linear layer behind an image becomes a
            convolution with a kernel of the image's size, so that the scan's order is the image's.
        frames: integers [frames, channels, height, width] or [frames, elements].
        gaps: back-pressure.
        golden: hold the simulator's values against the golden model's.

    Raises:
        ValueError: a layer that does not fit the engine.
    """
    gaps = gaps or DeltaGaps()
    start = frames if frames.ndim == 4 else frames[:, :, None, None]
    layers = _as_convolutions(layers, start.shape[1:])
    made = fresh(encoder)
    deltas = np.stack([np.moveaxis(made.step(frame), 0, -1) for frame in start])
    works, constants, memories = [], {}, {}
    sources: dict[str, tuple[list[int], Sequence[int]]] = {}
    given = start.shape[1:]
    results = deltas
    saturations = 0
    seen = []
    for e, layer in enumerate(layers):
        number = str(e) if len(layers) > 1 else ""
        state = DeltaLayerState(layer, given, accumulator_bits=shape.accumulator_bits)
        g = state.geometry
        works.append(layer_work(results, g, shape))
        seen.append(results)
        results = np.stack([state.step(delta) for delta in results])
        saturations += state.saturations
        config = _layer_config(shape, g, layer.output) | encoder_config(
            shape, encoder if e == 0 else DeltaEncoder(bits=shape.activation_bits,
                                                      signed=not layers[e - 1].output.relu)
        )  # fmt: skip
        constants[f"config{number}"] = pack_config(shape, config)
        sources[f"parameters{number}"] = (parameter_words(shape, layer.output), ())
        memories[number] = (_weight_words(shape, g, state.weight), _memory(gaps, e))
        given = (g.filters, *g.pooled)
    error = None
    if golden:
        network = DeltaNetwork(fresh(encoder), layers, accumulator_bits=shape.accumulator_bits)
        last = np.stack([np.moveaxis(network.step(frame)[-1], 0, -1) for frame in start])
        if (last != results).any():
            error = "the simulator's codes differ from the golden model's"
    codes = np.cumsum(results, axis=0)
    pixels = np.moveaxis(start, 1, -1)
    sources["x"] = (words_of(filled(pixels, shape.detector_width), shape.item_bits,
                           shape.detector_width), gaps.x)  # fmt: skip
    events = sum(int(work.reads.sum()) for work in works)
    return DeltaCase(
        description=f"{len(frames)} frames of {'x'.join(map(str, frames.shape[1:]))} through "
        f"{len(layers)} layers, {events} events",
        constants=constants,
        sources=sources,
        memories=memories,
        gaps_o=gaps.o,
        expected=words_of(filled(codes, shape.lanes), shape.item_bits, shape.lanes),
        timeline=delta_timeline(works, [shape] * len(works), gaps),
        works=works,
        golden_error=error,
        notes={
            "saturations": saturations,
            "events": events,
            "items": sum(int(np.prod(np.shape(d))) for d in seen),
        },
    )


def _as_convolutions(layers: Sequence[Linear | Conv], given: tuple[int, ...]) -> list[Conv]:
    """Layers as convolutions; a linear one has a kernel as large as its input."""
    out = []
    for layer in layers:
        if isinstance(layer, Linear):
            layer = Conv(layer.weight.reshape(-1, *given), layer.output)
        g = LayerGeometry.of(layer, given)
        given = (g.filters, *g.pooled)
        out.append(layer)
    return out


def fresh(encoder: DeltaEncoder) -> DeltaEncoder:
    """The encoder before its first frame."""
    return DeltaEncoder(
        theta=encoder.theta,
        multiplier=encoder.multiplier,
        shift=encoder.shift,
        bits=encoder.bits,
        signed=encoder.signed,
    )


def encoder_config(shape: DeltaShape, encoder: DeltaEncoder) -> dict[str, int]:
    """Constants of an encoder; the threshold rule takes elements as they are."""
    if encoder.theta is not None:
        return {"factor": 1, "factor_shift": 0, "signed": int(encoder.signed),
                "theta": encoder.theta}  # fmt: skip
    if encoder.bits != shape.activation_bits:
        raise ValueError(
            f"the encoder's bits must be activation_bits={shape.activation_bits}, "
            f"but got {encoder.bits}"
        )
    return {"factor": encoder.multiplier, "factor_shift": encoder.shift,
            "signed": int(encoder.signed), "theta": 0}  # fmt: skip


def _layer_config(shape: DeltaShape, g: LayerGeometry, output: Output) -> dict[str, int]:
    words = g.out_words(shape.lanes)
    sums = words * g.out_height * g.out_width
    kernel = g.kernel_height * g.kernel_width
    channel_words = g.channel_words(shape.detector_width)
    weights = channel_words * shape.detector_width * kernel * words
    _check_fits(shape, g.height * g.width * channel_words, sums, weights)
    if words > shape.parameter_words:
        raise ValueError(
            f"words of channels must be at most parameter_words={shape.parameter_words}, "
            f"but got {words}"
        )
    if output.bits != shape.activation_bits:
        raise ValueError(
            f"codes must have activation_bits={shape.activation_bits} bits, but got {output.bits}"
        )
    start_q, start_r = divmod(g.pad, g.stride)
    return {
        "channel_words": channel_words,
        "width": g.width,
        "height": g.height,
        "start_q": start_q,
        "start_r": start_r,
        "stride": g.stride,
        "kernel_h": g.kernel_height,
        "kernel_w": g.kernel_width,
        "last_y": g.out_height - 1,
        "last_x": g.out_width - 1,
        "out_words": words,
        "weight_channel": kernel * words,
        "weight_row": g.kernel_width * words,
        "sigma_row": g.out_width * words,
        "sigma_words": sums,
        "pool": g.pool,
        "pool_row": g.pool * g.out_width * words,
        "pool_step": g.pool * words,
        "pooled_h": g.pooled[0],
        "pooled_w": g.pooled[1],
        "shift": output.shift,
        "relu": int(output.relu),
    }


def _check_fits(shape: DeltaShape, references: int, sums: int, weights: int) -> None:
    for name, need, have in (
        ("reference_words", references, shape.reference_words),
        ("sigma_words", sums, shape.sigma_words),
        ("words of weights", weights, 1 << shape.address_bits),
    ):
        if need > have:
            raise ValueError(f"{name} must be at most {have}, but the layer needs {need}")


def pack_config(shape: DeltaShape, values: dict[str, int], *, partial: bool = False) -> int:
    """The word of `hwsim.rtl.delta_parts.config_layout`; with `partial` the rest is 0."""
    from hwsim.rtl.delta_parts import config_layout

    layout = config_layout(shape)
    if not partial and set(layout.members) != set(values):
        raise RuntimeError(f"the engine's constants are {set(layout.members)}, not {set(values)}")
    word = 0
    for name, value in values.items():
        place = layout[name]
        if not 0 <= value < 1 << place.width:
            raise ValueError(f"{name} must fit {place.width} bits, but got {value}")
        word |= value << place.offset
    return word


def words_of(values: NDArray, bits: int, lanes: int) -> list[int]:
    """Integers in two's complement of `bits`, `lanes` a word."""
    flat = np.ascontiguousarray(values, np.int64).reshape(-1, lanes)
    return pack_words(field_bits(flat.view(np.uint64), bits))


def filled(values: NDArray, width: int) -> NDArray:
    """The last axis filled with zeros to whole words."""
    spare = -values.shape[-1] % width
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, spare)])


def _weight_words(shape: DeltaShape, g: LayerGeometry, weight: NDArray) -> list[int]:
    """Weights [channel, ky, kx, filter] by channel, kernel row and column, words of filters."""
    return words_of(filled(weight, shape.lanes), shape.weight_bits, shape.lanes)


def parameter_words(shape: DeltaShape, output: Output) -> list[int]:
    """Biases and factors, a word for each word of channels."""
    top = 1 << (shape.accumulator_bits - 1)
    if output.multiplier.max(initial=0) >= 1 << FactorBits.MULTIPLIER or output.shift > 62:
        raise ValueError(
            f"multipliers must be below 2**{FactorBits.MULTIPLIER} and shifts at most 62, but got "
            f"{int(output.multiplier.max())} and {output.shift}"
        )
    if not (-top <= output.bias.min(initial=0) and output.bias.max(initial=0) < top):
        raise ValueError(f"biases must fit the accumulator, but got {output.bias}")
    spare = -len(output.bias) % shape.lanes
    bias, factor = (np.pad(x, (0, spare)).reshape(-1, shape.lanes)
                    for x in (output.bias, output.multiplier))  # fmt: skip
    bits = [field_bits(bias.astype(np.int64).view(np.uint64), shape.accumulator_bits),
            field_bits(factor, FactorBits.MULTIPLIER)]  # fmt: skip
    return pack_words(np.concatenate(bits, axis=2))


def _memory(gaps: DeltaGaps, engine: int) -> MemoryGaps:
    if not gaps.memory:
        return MemoryGaps()
    return gaps.memory[engine if len(gaps.memory) > 1 else 0]
