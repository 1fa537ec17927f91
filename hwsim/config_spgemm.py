"""Configuration of the row-wise SpGEMM engine: the object that is simulated, generated, verified.

The engine forms C = A B row by row (Gustavson). Its window is a run of rows of A whose entries of C
are merged in banked hash tables on chip; see docs/rowwise-engine.md for the machine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.config_base import BusConfig, DramConfig
from hwsim.energy_block import EnergyBlock, Powered
from hwsim.models.rowwise import RowwiseShape

__all__ = ["SpgemmConfig", "SpgemmEnergy"]


class SpgemmEnergy(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        multiply_pj, add_pj: one operation in the configured format.
        probe_pj: one slot of the tag table read and compared; an insert writes it once more.
        dense_pj: one read or write of an entry of the dense arrays.
        queue_pj: one product through the crossbar and the queues on both its sides.
        dram_pj: a byte to or from DRAM.
    """

    multiply_pj: Annotated[float, Field(ge=0)]
    add_pj: Annotated[float, Field(ge=0)]
    probe_pj: Annotated[float, Field(ge=0)]
    dense_pj: Annotated[float, Field(ge=0)]
    queue_pj: Annotated[float, Field(ge=0)]
    dram_pj: Annotated[float, Field(ge=0)]


class SpgemmConfig(Powered):
    """The row-wise engine.

    Attributes:
        name: shown in reports.
        lanes: multipliers, each with a streamer of rows of B.
        banks: hash tables, a power of two; a product goes to the one that the low bits of its hash
            name.
        entries: entries of C that a bank holds, a power of two.
        outputs: result streams, a power of two up to `banks`; each serves as many banks.
        format: `int32`, which wraps, or `fp32`, which rounds to nearest even.
        multiplier_latency, adder_latency: pipeline stages.
        token_queue: non-zeros of A that wait for a lane; it also bounds what is read of A ahead.
        token_length: elements of B in a token at most; a longer row makes several.
        request_queue: rows of B that a lane asks for ahead of the one that it multiplies.
        product_queue, bank_queue: products that wait before and behind the crossbar.
        row_bits: width of a row's number in its window; a window has 2**row_bits rows at most.
        column_bits: width of a column's number.
        epoch_bits: a table is emptied by a new epoch; each 2**epoch_bits - 1 windows it is swept.
        probe_limit: slots looked at before a product is spilled; None is the whole table.
        window_load: the bound of a window's entries at most, as a part of the tables' entries.
        op: `aa` (C = A A) or `aat` (C = A A^T); None takes `aa` for a square A.
        clock_hz: clock frequency.
        bus: the buses of the FPGA-ready top.
    """

    kind: Literal["spgemm"] = "spgemm"
    name: str
    lanes: Annotated[int, Field(ge=1, le=64)]
    banks: Annotated[int, Field(ge=1, le=64)]
    entries: Annotated[int, Field(ge=2, le=65536)]
    outputs: Annotated[int, Field(ge=1, le=64)]
    format: Literal["int32", "fp32"]
    multiplier_latency: Annotated[int, Field(ge=1, le=8)]
    adder_latency: Annotated[int, Field(ge=1, le=8)]
    token_queue: Annotated[int, Field(ge=2, le=256)]
    token_length: Annotated[int, Field(ge=1, le=65535)]
    request_queue: Annotated[int, Field(ge=2, le=256)]
    product_queue: Annotated[int, Field(ge=2, le=64)]
    bank_queue: Annotated[int, Field(ge=2, le=64)]
    row_bits: Annotated[int, Field(ge=1, le=16)]
    column_bits: Annotated[int, Field(ge=1, le=31)]
    epoch_bits: Annotated[int, Field(ge=1, le=16)]
    probe_limit: Annotated[int, Field(ge=1)] | None
    window_load: Annotated[float, Field(gt=0, le=1)]
    op: Literal["aa", "aat"] | None
    clock_hz: Annotated[float, Field(gt=0)]
    dram: DramConfig
    bus: BusConfig = BusConfig()
    energy: SpgemmEnergy

    @model_validator(mode="after")
    def _check_powers(self) -> SpgemmConfig:
        for name in ("banks", "entries", "outputs"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, but got {value}")
        if self.outputs > self.banks:
            raise ValueError(
                f"outputs must not exceed banks, but got {self.outputs} and {self.banks}"
            )
        if self.probe_limit is not None and self.probe_limit > self.entries:
            raise ValueError(
                f"probe_limit must not exceed entries, but got {self.probe_limit} "
                f"and {self.entries}"
            )
        return self

    @property
    def shape(self) -> RowwiseShape:
        """The machine as its simulator and its RTL take it."""
        return RowwiseShape(
            lanes=self.lanes,
            banks=self.banks,
            entries=self.entries,
            outputs=self.outputs,
            multiplier_latency=self.multiplier_latency,
            adder_latency=self.adder_latency,
            token_queue=self.token_queue,
            token_length=self.token_length,
            request_queue=self.request_queue,
            product_queue=self.product_queue,
            bank_queue=self.bank_queue,
            row_bits=self.row_bits,
            column_bits=self.column_bits,
            epoch_bits=self.epoch_bits,
            probe_limit=self.probe_limit or self.entries,
            is_float=self.format == "fp32",
        )

    @property
    def capacity(self) -> int:
        """Entries of C that all banks hold."""
        return self.banks * self.entries

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiplies a cycle at full use."""
        return self.lanes
