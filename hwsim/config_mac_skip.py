"""Configuration of machines that skip multiplies by zero, by their published cycle laws."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.config_base import DramConfig
from hwsim.dataflows.scnn import ScnnShape
from hwsim.energy_block import EnergyBlock, Powered

__all__ = ["MacSkipConfig", "MacSkipEnergy"]

_Count = Annotated[int, Field(ge=1, le=65536)] | None

_FIELDS = {
    "eyeriss_v2_pe": ("units",),
    "cnvlutin": ("units", "lanes", "filters", "chunk"),
    "scnn": ("rows", "cols", "weights", "activations", "filters", "banks"),
    "sparten": ("units", "lanes", "chunk", "greedy"),
    "spartus": ("units", "lanes"),
    "seneca": ("lanes", "chunk", "pixel_cycles"),
}


class MacSkipEnergy(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        mac_pj: one multiply-accumulate that is issued.
        dram_pj: a byte to or from DRAM.
    """

    mac_pj: Annotated[float, Field(ge=0)]
    dram_pj: Annotated[float, Field(ge=0)]


class MacSkipConfig(Powered):
    """A machine that skips; a field that its law does not use is null.

    Attributes:
        name: shown in reports.
        engine: whose law.
        units: PEs that share the filters (eyeriss_v2_pe), units of filters (cnvlutin), clusters
            that share the pixels (sparten), arrays that share the columns (spartus).
        lanes: of activations (cnvlutin), compute units of a cluster (sparten), PEs of an array
            (spartus), neurons updated a cycle (seneca).
        filters: of a unit side by side (cnvlutin), of a group (scnn).
        chunk: channels of a brick (cnvlutin), positions of a bit mask (sparten), events of a group
            (seneca).
        rows, cols: of the grid of PEs (scnn).
        weights, activations: F and I, multiplied with each other a cycle (scnn).
        banks: of accumulators, a power of two (scnn).
        greedy: pair filters by density (sparten).
        pixel_cycles: to decode the address of a pixel with events (seneca).
        value_bytes: of a stored value; zeros are stored as one bit of a mask.
        clock_hz: clock frequency.
    """

    kind: Literal["mac_skip"] = "mac_skip"
    name: str
    engine: Literal["eyeriss_v2_pe", "cnvlutin", "scnn", "sparten", "spartus", "seneca"]
    units: _Count = None
    lanes: _Count = None
    filters: _Count = None
    chunk: _Count = None
    rows: _Count = None
    cols: _Count = None
    weights: _Count = None
    activations: _Count = None
    banks: _Count = None
    greedy: bool | None = None
    pixel_cycles: Annotated[int, Field(ge=0, le=65536)] | None = None
    value_bytes: Annotated[int, Field(ge=1, le=4)]
    clock_hz: Annotated[float, Field(gt=0)]
    dram: DramConfig
    energy: MacSkipEnergy

    @model_validator(mode="after")
    def _check_fields(self) -> MacSkipConfig:
        needed = _FIELDS[self.engine]
        for name in sorted({field for fields in _FIELDS.values() for field in fields}):
            value = getattr(self, name)
            if name in needed and value is None:
                raise ValueError(f"{name} must be given for engine {self.engine}, but got none")
            if name not in needed and value is not None:
                raise ValueError(
                    f"{name} must be null for engine {self.engine}, which has none, but got {value}"
                )
        if self.banks is not None and self.banks & (self.banks - 1):
            raise ValueError(f"banks must be a power of two, but got {self.banks}")
        if self.engine == "sparten" and (self.chunk or 0) % 64:
            raise ValueError(f"chunk must be a multiple of 64, but got {self.chunk}")
        return self

    def count(self, field: str) -> int:
        """A field that this engine needs.

        Raises:
            ValueError: it does not need it.
        """
        if field not in _FIELDS[self.engine]:
            raise ValueError(f"engine {self.engine} has no {field}")
        return int(getattr(self, field))

    @property
    def scnn(self) -> ScnnShape:
        """The machine as its law takes it."""
        names = ("rows", "cols", "weights", "activations", "filters", "banks")
        return ScnnShape(**{name: self.count(name) for name in names})

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiplies issued a cycle at full use."""
        width = {
            "eyeriss_v2_pe": ("units",),
            "cnvlutin": ("units", "lanes", "filters"),
            "scnn": ("rows", "cols", "weights", "activations"),
            "sparten": ("units", "lanes"),
            "spartus": ("units", "lanes"),
            "seneca": ("lanes", "chunk"),
        }[self.engine]
        product = 1
        for name in width:
            product *= self.count(name)
        return product

    @property
    def peak_macs_per_s(self) -> float:
        """Multiplies issued a second at full use."""
        return self.peak_macs_per_cycle * self.clock_hz
