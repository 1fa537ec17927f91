"""Configuration of an SpGEMM dataflow: exact counts of its events, a law for how long they take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.config_base import DramConfig, Frozen
from hwsim.energy_block import EnergyBlock, Powered

__all__ = ["DataflowEnergy", "DataflowMemory", "SpgemmDataflowConfig"]


class DataflowMemory(Frozen):
    """On-chip memories.

    Attributes:
        cache_bytes: of B. `row_wise` and `two_pass_hash`: a fibre cache of rows; `outer`: the row
            that is being used; `inner`: all of B where it fits, else nothing.
        policy: replacement in the fibre cache: `lru`; `next_use`, Belady's optimum, a bound; or
            `next_use_words`, as TeAAL's published traffic was simulated.
        buffer_bytes: `inner`: a block of rows of A; `two_pass_hash`: the table of one PE, larger
            ones live in DRAM; without use elsewhere.
    """

    cache_bytes: Annotated[int, Field(ge=0)]
    policy: Literal["lru", "next_use", "next_use_words"]
    buffer_bytes: Annotated[int, Field(ge=0)]


class DataflowEnergy(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        multiply_pj, add_pj: one operation on values.
        merge_pj: one element through one level of a merger, or one comparison of an insertion.
        compare_pj: one comparison of two coordinates in an intersection.
        probe_pj: one slot of a hash table read and compared.
        cache_pj: a byte from the cache of B.
        dram_pj: a byte to or from DRAM.
    """

    multiply_pj: Annotated[float, Field(ge=0)]
    add_pj: Annotated[float, Field(ge=0)]
    merge_pj: Annotated[float, Field(ge=0)]
    compare_pj: Annotated[float, Field(ge=0)]
    probe_pj: Annotated[float, Field(ge=0)]
    cache_pj: Annotated[float, Field(ge=0)]
    dram_pj: Annotated[float, Field(ge=0)]


class SpgemmDataflowConfig(Powered):
    """A machine known by its dataflow, its memories and its rates.

    Attributes:
        name: shown in reports.
        dataflow: `row_wise` (Gustavson, fibres merged), `outer`, `inner` or `two_pass_hash`.
        row_order: in which rows of A are taken in `row_wise`: `natural`, or `affinity`, Gamma's
            preprocessing, of at most 65536 rows; without use elsewhere.
        op: `aa` (C = A A) or `aat` (C = A A^T); None takes `aa` for a square A.
        clock_hz: clock frequency.
        pes: processing elements; each does one event of each kind a cycle: a multiply, an add, an
            element merged, a comparison, a probe.
        merge_pes: PEs that merge and add in the merge phase of `outer`; without use elsewhere.
        merger_radix: fibres that a merger takes at once in `row_wise`; without use elsewhere.
        hash_scale: odd multiplier of the hash of `two_pass_hash`; without use elsewhere.
        min_slots: its smallest table, a power of two.
        value_bytes: of a value in DRAM; coordinates and row pointers have 4.
        dram: `burst_bytes` is also the line of the cache, and every fibre starts on one.
    """

    kind: Literal["spgemm_dataflow"] = "spgemm_dataflow"
    name: str
    dataflow: Literal["row_wise", "outer", "inner", "two_pass_hash"]
    row_order: Literal["natural", "affinity"]
    op: Literal["aa", "aat"] | None
    clock_hz: Annotated[float, Field(gt=0)]
    pes: Annotated[int, Field(ge=1, le=65536)]
    merge_pes: Annotated[int, Field(ge=1, le=65536)]
    merger_radix: Annotated[int, Field(ge=2, le=65536)]
    hash_scale: Annotated[int, Field(ge=1, le=(1 << 31) - 1)]
    min_slots: Annotated[int, Field(ge=1, le=1 << 30)]
    value_bytes: Literal[4, 8]
    memory: DataflowMemory
    dram: DramConfig
    energy: DataflowEnergy

    @model_validator(mode="after")
    def _check(self) -> SpgemmDataflowConfig:
        if self.hash_scale % 2 == 0:
            raise ValueError(f"hash_scale must be odd, but got {self.hash_scale}")
        if self.min_slots & (self.min_slots - 1):
            raise ValueError(f"min_slots must be a power of two, but got {self.min_slots}")
        if self.dram.burst_bytes % 8:
            raise ValueError(
                "dram.burst_bytes must be a multiple of 8, since it is the line of the cache, "
                f"but got {self.dram.burst_bytes}"
            )
        return self

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates a cycle at full use."""
        return self.pes
