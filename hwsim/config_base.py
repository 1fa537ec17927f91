"""What the configurations of all families share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DramConfig", "Frozen"]


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
