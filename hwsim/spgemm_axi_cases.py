"""Products, memories and designs for the verification of the SpGEMM top; all follow from the seed.

Four kinds of product take turns, the first three with a memory that a model foresees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hwsim.config_base import BusConfig
from hwsim.config_spgemm import SpgemmConfig
from hwsim.models.sparse import Csr

__all__ = ["KARATE", "SpgemmAxiCase", "axi_designs", "karate", "make_axi_case"]

KARATE: Mapping[int, tuple[int, ...]] = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}
"""W. Zachary, J. Anthropological Research 33 (1977): a karate club's 34 members and 78 ties."""

_WAIT_CYCLES = 400_000


@dataclass(frozen=True, kw_only=True)
class SpgemmAxiCase:
    """A product and the memory that it runs from.

    Attributes:
        number: of the case in its run.
        design: which of the run's designs.
        name: of the product.
        a, b: operands.
        load: bound of a window's entries, as a part of the tables'.
        latency, write_latency: of the memory, cycles or (least, most).
        pauses: probabilities that the memory's channels pause.
        register_pauses: the same of the register master.
        slave: as of `hwsim.rtl.bench_spgemm_axi`.
    """

    number: int
    design: int
    name: str
    a: Csr
    b: Csr
    load: float = 0.5
    latency: int | tuple[int, int] = 20
    write_latency: int | tuple[int, int] = 10
    pauses: Mapping[str, float] = field(default_factory=dict)
    register_pauses: float = 0.0
    slave: str = "pipelined"

    @property
    def modelled(self) -> bool:
        """The memory behaves as the model of it assumes: it does not pause at random."""
        return not self.pauses and isinstance(self.latency, int) and self.slave == "pipelined"

    @property
    def memory(self) -> str:
        """In words."""
        if self.slave != "pipelined":
            return f"one burst at a time, {'random pauses' if self.pauses else 'no pauses'}"
        late = self.latency
        text = f"latency {late}" if isinstance(late, int) else f"latency {late[0]} to {late[1]}"
        return text + (", random pauses" if self.pauses else "")

    @property
    def limit(self) -> int:
        """Cycles after which the case is given up."""
        return _WAIT_CYCLES


def axi_designs(config: SpgemmConfig) -> list[SpgemmConfig]:
    """Two small designs like the configuration: its format and bus, and the other format on a bus
    of 128 bits, where words hold two elements and four pointers.

    Lanes and banks are instances of one module each, so a few of them mix up what many would.
    """
    small = {
        "lanes": min(config.lanes, 2),
        "banks": min(config.banks, 4),
        "outputs": min(config.outputs, 2),
        "entries": min(config.entries, 32),
        "token_queue": min(config.token_queue, 32),
        "token_length": min(config.token_length, 16),
        "probe_limit": min(config.probe_limit or 8, 8, config.entries),
        "row_bits": min(config.row_bits, 6),
        "column_bits": min(config.column_bits, 12),
        "epoch_bits": min(config.epoch_bits, 2),
    }
    other = "int32" if config.format == "fp32" else "fp32"
    wide = BusConfig(data_bits=128, burst_beats=8, outstanding_reads=4)
    data = config.model_dump()
    return [
        SpgemmConfig.model_validate(data | small),
        SpgemmConfig.model_validate(
            data | small | {"format": other, "outputs": 1, "bus": wide.model_dump()}
        ),
    ]


def make_axi_case(designs: Sequence[SpgemmConfig], seed: int, number: int) -> SpgemmAxiCase:
    """Case `number` of a run; designs and kinds take turns."""
    rng = np.random.default_rng([seed, number])
    design = number % len(designs)
    dtype = designs[design].shape.value_dtype
    kind = number // len(designs) % len(_KINDS)
    name, make = _KINDS[kind]
    a, b, given = make(rng, dtype)
    return SpgemmAxiCase(number=number, design=design, name=name, a=a, b=b, **given)


def karate(dtype: np.dtype | type) -> Csr:
    """The club's adjacency, symmetric, 156 ones."""
    rows, columns = [], []
    for one, others in KARATE.items():
        for other in others:
            rows += [one, other]
            columns += [other, one]
    ones = np.ones(len(rows), dtype)
    return Csr.from_coo((34, 34), np.array(rows), np.array(columns), ones)


def _club(rng: Generator, dtype: np.dtype) -> tuple[Csr, Csr, dict[str, Any]]:
    a = karate(dtype)
    return a, a, {"latency": int(rng.integers(5, 60))}


def _convolution(rng: Generator, dtype: np.dtype) -> tuple[Csr, Csr, dict[str, Any]]:
    """Z = A' X of a graph's layer: 64 nodes of about 4 neighbours, 7 dense features."""
    nodes, features = 64, 7
    ties = rng.random((nodes, nodes)) < 2 / nodes
    adjacency = ties | ties.T | np.eye(nodes, dtype=bool)
    a = _filled(rng, adjacency, dtype)
    x = _filled(rng, np.ones((nodes, features), bool), dtype)
    return a, x, {"latency": int(rng.integers(5, 60))}


def _crowded(rng: Generator, dtype: np.dtype) -> tuple[Csr, Csr, dict[str, Any]]:
    """More entries a window than the tables take easily: products spill, further passes run."""
    a = _filled(rng, rng.random((24, 24)) < 0.25, dtype)
    b = _filled(rng, rng.random((24, 80)) < 0.2, dtype)
    return a, b, {"latency": int(rng.integers(5, 60)), "load": 1.0}


def _restless(rng: Generator, dtype: np.dtype) -> tuple[Csr, Csr, dict[str, Any]]:
    """Random sizes, pauses on all channels, random latency; every other one on cocotbext-axi."""
    m, k, n = (int(x) for x in rng.integers(2, 24, 3))
    density = float(rng.choice([0.05, 0.2, 0.5]))
    filled_a, filled_b = rng.random((m, k)) < density, rng.random((k, n)) < density
    filled_a[rng.integers(0, m), rng.integers(0, k)] = True
    channels = ("ar", "r", "aw", "w", "b")
    given = {
        "latency": (0, int(rng.integers(1, 40))),
        "write_latency": (0, int(rng.integers(1, 40))),
        "pauses": {name: float(rng.choice([0.1, 0.5])) for name in channels},
        "register_pauses": 0.3,
        "slave": str(rng.choice(["pipelined", "cocotbext"])),
    }
    return _filled(rng, filled_a, dtype), _filled(rng, filled_b, dtype), given


def _filled(rng: Generator, where: NDArray[np.bool_], dtype: np.dtype) -> Csr:
    rows, columns = np.nonzero(where)
    if dtype.kind == "i":
        values = rng.integers(-(2**31), 2**31, rows.size).astype(np.int32)
    else:
        values = rng.standard_normal(rows.size).astype(np.float32)
    return Csr.from_coo(where.shape, rows, columns, values)


_KINDS = (
    ("karate squared", _club),
    ("graph convolution", _convolution),
    ("crowded tables", _crowded),
    ("random", _restless),
)
