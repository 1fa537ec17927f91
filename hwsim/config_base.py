"""What the configurations of all families share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BusConfig", "DramConfig", "Frozen"]


class Frozen(BaseModel):
    """Fields are checked, named and final; an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class DramConfig(Frozen):
    """Off-chip memory as seen from the accelerator.

    Attributes:
        bytes_per_cycle: peak bytes an accelerator clock over all channels; None is unlimited.
        channels: independent channels; a transfer is spread over them burst by burst.
        latency_cycles: from a request to its first byte, in accelerator cycles.
        burst_bytes: granularity of an access; a shorter one moves this much.
    """

    bytes_per_cycle: Annotated[float, Field(gt=0)] | None
    channels: Annotated[int, Field(ge=1, le=64)]
    latency_cycles: Annotated[int, Field(ge=0)]
    burst_bytes: Annotated[int, Field(ge=1)]


class BusConfig(Frozen):
    """The buses of an FPGA-ready top; simulation of the core does not depend on them.

    Defaults are not given by any source; chosen because 64 bits, 40-bit addresses and bursts of 16
    are what the ports between fabric and memory of common FPGA SoCs take.

    Attributes:
        data_bits: width of the AXI4 master's data channels.
        address_bits: width of its addresses.
        burst_beats: beats of a burst at most; none crosses a 4 KB boundary.
        outstanding_reads: read bursts that may be under way at once.
        data: `memory`, a DMA fetches operands and stores results; `stream`, the data ports are
            AXI4-Streams and only descriptors come from memory.
    """

    data_bits: Literal[32, 64, 128, 256, 512] = 64
    address_bits: Annotated[int, Field(ge=32, le=64)] = 40
    burst_beats: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256] = 16
    outstanding_reads: Annotated[int, Field(ge=1, le=64)] = 8
    data: Literal["memory", "stream"] = "memory"
