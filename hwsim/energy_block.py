"""What the energy blocks of all families share, and how a configuration fills its block."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from hwsim.config_base import Frozen

__all__ = ["DramKind", "EnergyBlock", "Powered"]

DramKind = Literal["ddr3", "ddr4", "ddr5", "lpddr4", "gddr5", "hbm2", "hbm2e", "hbm3"]


class EnergyBlock(Frozen):
    """Where the energies of a block come from.

    Attributes:
        source: `preset`, the figures that the configuration states; `table`, figures derived from
            `hwsim.energy_data` and the configuration's formats and sizes, which replace those that
            are stated.
        node_nm: process of `table` in nanometres; None is the table's own 45. Without use for
            `preset`, whose figures are of the process that their sources are of.
        dram_kind: kind of DRAM of `table`.
    """

    source: Literal["preset", "table"] = "preset"
    node_nm: Annotated[float, Field(ge=7, le=180)] | None = None
    dram_kind: DramKind = "ddr4"

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.node_nm is not None and self.source == "preset":
            raise ValueError(
                f"node_nm must be null unless source is table, since stated energies are not "
                f"scaled, but got {self.node_nm:g}"
            )
        return self


class Powered(Frozen):
    """A configuration with a field `energy`, derived anew whenever the configuration changes."""

    @model_validator(mode="after")
    def _derive_energy(self) -> Self:
        # the subclass declares the field, with the events of its family
        block: Any = getattr(self, "energy", None)
        if isinstance(block, EnergyBlock) and block.source == "table":
            from hwsim.energy import table

            # frozen for users; here the object is still being made
            self.__dict__["energy"] = block.model_copy(update=table(cast(Any, self)))
        return self
