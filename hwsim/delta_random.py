"""Random cases for the delta engines: designs near a configuration, layers, frames and stalls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_sim import DeltaGaps, MemoryGaps
from hwsim.delta_cases import DeltaCase, gru_case, layer_case
from hwsim.models.delta import Conv, DeltaEncoder, Linear, Output
from hwsim.models.delta_gru import GruWeights
from hwsim.models.delta_shape import DeltaShape

__all__ = ["Design", "designs", "random_case"]

_SMALL = {"reference_words": 256, "sigma_words": 512, "parameter_words": 16}
"""Memories of the designs that are verified at most: they bound the random layers."""


@dataclass(frozen=True)
class Design:
    """A design that is verified: `chain` engines of one shape."""

    shape: DeltaShape
    chain: int

    def __str__(self) -> str:
        s = self.shape
        return (
            f"engine={'gru' if s.gru else 'layer'} lanes={s.lanes} chain={self.chain} "
            f"detector_width={s.detector_width} fifo_depth={s.fifo_depth} prefetch={s.prefetch} "
            f"accumulator_bits={s.accumulator_bits}"
        )


def designs(config: DeltaConfig) -> list[Design]:
    """The configuration with small memories, and relatives of both kinds of engine.

    The relatives have other lanes, detectors, queues and accumulators; layer engines also come as
    a chain of two.
    """
    own = config.model_copy(
        update={name: min(size, getattr(config, name)) for name, size in _SMALL.items()}
    )
    layer = {"engine": "layer", "theta": None, "activation_bits": 8, "weight_bits": 8}
    gru = {
        "engine": "gru", "theta": 32, "chain": 1, "activation_bits": 16, "activation_fraction": 8,
        "weight_bits": 8, "weight_fraction": 7, "accumulator_bits": 24, "table_bits": 11,
        "table_range_bits": 3, "channel_bits": 10, "address_bits": 16,
    }  # fmt: skip
    sizes = {"coordinate_bits": 5, "channel_bits": 10, "address_bits": 16, **_SMALL}
    relatives = [
        {**layer, **sizes, "lanes": 2, "detector_width": 1, "fifo_depth": 2, "prefetch": 4,
         "accumulator_bits": 16, "chain": 1},
        {**gru, **_SMALL, "lanes": 2, "detector_width": 1, "fifo_depth": 4, "prefetch": 4},
        {**layer, **sizes, "lanes": 2, "detector_width": 2, "fifo_depth": 5, "prefetch": 5,
         "accumulator_bits": 20, "chain": 2},
        {**gru, **_SMALL, "lanes": 4, "detector_width": 2, "fifo_depth": 3, "prefetch": 6,
         "accumulator_bits": 26, "table_bits": 8, "table_range_bits": 2},
    ]  # fmt: skip
    made = [own] + [type(config).model_validate({**own.model_dump(), **r}) for r in relatives]
    return [Design(design.shape, design.chain) for design in made]


def random_case(design: Design, seed: int, number: int) -> DeltaCase:
    """Case `number` of a run: a layer or network, frames that change in part, stalls."""
    rng = np.random.default_rng([seed, number])
    while True:  # a layer that does not fit the memories is drawn again
        gaps = _gaps(rng, design.chain)
        if design.shape.gru:
            return _gru(rng, design.shape, gaps)
        try:
            return _layers(rng, design, gaps)
        except ValueError:
            continue


def _gaps(rng: Generator, engines: int) -> DeltaGaps:
    """Stalls on any of the ports, none in a fifth of the cases."""
    if rng.random() < 0.2:
        return DeltaGaps()

    def some() -> list[int]:
        if rng.random() < 0.4:
            return []
        return (rng.integers(0, 5, 7) * (rng.random(7) < 0.6)).tolist()

    memory = [
        MemoryGaps(request=some(), latency=int(rng.integers(1, 9)), response=some())
        for _ in range(engines)
    ]
    return DeltaGaps(x=some(), o=some(), start=some(), memory=memory)


def _gru(rng: Generator, shape: DeltaShape, gaps: DeltaGaps) -> DeltaCase:
    inputs, hidden = int(rng.integers(1, 21)), shape.lanes * int(rng.integers(1, 5))
    top, weight_top = 1 << (shape.activation_bits - 1), 1 << (shape.weight_bits - 1)
    sum_top = 1 << (shape.accumulator_bits - 1)
    scale = int(rng.choice([sum_top >> 8, sum_top >> 4, sum_top]))  # the last saturates
    weights = GruWeights(
        w=rng.integers(-weight_top, weight_top, (3 * hidden, inputs)),
        r=rng.integers(-weight_top, weight_top, (3 * hidden, hidden)),
        bias=rng.integers(-scale, scale, (4, hidden)),
    )
    size = int(rng.choice([300, top]))
    x = _changing(rng, (int(rng.integers(1, 6)), inputs), -size, size)
    return gru_case(shape, weights, int(rng.choice([0, 1, 20, 100])), x, gaps)


def _layers(rng: Generator, design: Design, gaps: DeltaGaps) -> DeltaCase:
    shape = design.shape
    bits = shape.activation_bits
    code_top = 1 << bits
    if rng.random() < 0.3:
        given: tuple[int, ...] = (int(rng.integers(1, 40)),)
    else:
        given = (int(rng.integers(1, 6)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    frames = _changing(rng, (int(rng.integers(1, 5)), *given), 0, code_top)
    theta = None if rng.random() < 0.6 else int(rng.integers(0, 40))
    encoder = DeltaEncoder(
        theta=theta,
        multiplier=int(rng.integers(1, 1 << 16)) if theta is None else 1,
        shift=int(rng.integers(12, 20)) if theta is None else 0,
        bits=bits,
        signed=False,
    )
    layers: list[Linear | Conv] = []
    here = given
    for _ in range(design.chain):
        layer = _layer(rng, shape, here)
        layers.append(layer)
        if isinstance(layer, Linear):
            here = (len(layer.weight),)
        else:
            filters, height, width = layer.sums_shape(here)
            here = (filters, height // layer.output.pool, width // layer.output.pool)
    return layer_case(shape, encoder, layers, frames, gaps)


def _layer(rng: Generator, shape: DeltaShape, given: tuple[int, ...]) -> Linear | Conv:
    filters = int(rng.integers(1, 3 * shape.lanes + 2))
    top = 1 << (shape.weight_bits - 1)
    sum_top = 1 << (shape.accumulator_bits - 1)
    output = Output(
        bias=rng.integers(-(sum_top >> 4), sum_top >> 4, filters),
        multiplier=rng.integers(0, 1 << 16, filters),
        shift=int(rng.integers(shape.accumulator_bits - 6, shape.accumulator_bits + 10)),
        bits=shape.activation_bits,
        relu=bool(rng.random() < 0.7),
        pool=1 if len(given) == 1 else int(rng.choice([1, 1, 2, 3])),
    )
    if len(given) == 1:
        return Linear(rng.integers(-top, top, (filters, given[0])), output)
    kernel = rng.integers(1, 5, 2)
    return Conv(
        rng.integers(-top, top, (filters, given[0], *kernel)),
        output,
        stride=int(rng.integers(1, 4)),
        pad=int(rng.integers(0, 3)),
    )


def _changing(rng: Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray:
    """Frames of which a part changes, from none to all."""
    frames = rng.integers(low, high, shape)
    stay = rng.choice([0.0, 0.5, 0.9, 1.0])
    for t in range(1, shape[0]):
        keep = rng.random(shape[1:]) < stay
        frames[t][keep] = frames[t - 1][keep]
    return frames
