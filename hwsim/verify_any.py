"""Verification of whatever machine a configuration describes: `hwsim verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError
from hwsim.verify import Report

__all__ = ["verify"]


def verify(config: Accelerator, **options: Any) -> Report:
    """Run random cases through the RTL of a configuration.

    Args:
        config: a configuration that has RTL.
        options: `cases`, `seed`, `only`, `waves`, `progress` as in `hwsim.verify.verify`.

    Raises:
        UserError: no RTL for this kind, a count below 1, or a tool is missing.
    """
    waves: Path | None = options.get("waves")
    if waves is not None and options.get("only") is None:
        raise UserError("--waves needs --case: a waveform is written for one case")
    if isinstance(config, SatConfig):
        from hwsim.verify import verify as run

        return run(config, **options)
    if isinstance(config, SpgemmConfig):
        from hwsim.verify_spgemm import verify_spgemm

        return verify_spgemm(config, **options)
    if isinstance(config, DeltaConfig):
        from hwsim.verify_delta import verify_delta

        return verify_delta(config, **options)
    raise UserError(
        f"kind: only sat, spgemm and delta can be verified, but {config.name} is a {config.kind}, "
        "which has no RTL"
    )
