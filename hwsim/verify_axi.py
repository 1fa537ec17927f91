"""Verification of the FPGA-ready tops: whole layers from descriptors in memory, over AXI buses.

A layer is packed into a memory image and a list of descriptors; the bench writes the list's
address into the top's registers, starts it and waits for the interrupt, while the memory answers
with the latency and the pauses of the case. Judged are the results (bit for bit), the core's own
cycles (they must equal the simulator's) and the whole run's cycles (against the model of core and
memory, whose error is reported).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from hwsim.config import Accelerator, DeltaConfig, SatConfig, SpgemmConfig
from hwsim.errors import UserError

__all__ = ["AxiLayer", "AxiReport", "verify_axi"]


@dataclass(frozen=True, kw_only=True)
class AxiLayer:
    """One layer, or another piece of work of a list of descriptors, run through a top.

    Attributes:
        name: the layer and what it ran on.
        memory: latency, pauses and injected errors of its memory, in words.
        rtl_cycles: clock cycles from the write that starts the list to the interrupt.
        core_cycles: cycles in which the core advanced with work in it, as its counter says; what it
            waited for the memory system is not in it.
        model_core_cycles: the same by the simulator; must be equal.
        model_cycles: the whole run by the model of core and memory; None where the memory pauses
            at random, which no model foresees.
        values_equal: the results in memory equal the golden model's bit for bit.
        bytes_read, bytes_written: moved on the AXI4 master, descriptors included.
        counters: of the top, by registered name.
        what: the first difference or unexpected state; None if there is none.
    """

    name: str
    memory: str
    rtl_cycles: int
    core_cycles: int
    model_core_cycles: int
    model_cycles: int | None
    values_equal: bool
    bytes_read: int
    bytes_written: int
    counters: Mapping[str, int] = field(default_factory=dict)
    what: str | None = None

    @property
    def error(self) -> float | None:
        """Model over RTL, less one; None where the memory is not modelled."""
        return None if self.model_cycles is None else self.model_cycles / self.rtl_cycles - 1

    @property
    def ok(self) -> bool:
        """Values and core cycles are equal and nothing else was wrong."""
        return (
            self.values_equal and self.core_cycles == self.model_core_cycles and self.what is None
        )


@dataclass(frozen=True, kw_only=True)
class AxiReport:
    """What a run found.

    Attributes:
        config: the design's fields that matter, in words.
        seed: makes the same cases again.
        layers: in the order of the cases.
        seconds_build, seconds_run: wall time.
        notes: what else was checked, a sentence each (an injected error that was reported, ...).
    """

    config: str
    seed: int
    layers: list[AxiLayer]
    seconds_build: float
    seconds_run: float
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every layer is; the error of the memory model is reported, not judged."""
        return bool(self.layers) and all(layer.ok for layer in self.layers)

    @property
    def failures(self) -> list[AxiLayer]:
        return [layer for layer in self.layers if not layer.ok]

    @property
    def mean_error(self) -> float | None:
        """Mean magnitude of the modelled layers' errors; None if none is modelled."""
        errors = [abs(layer.error) for layer in self.layers if layer.error is not None]
        return fmean(errors) if errors else None

    @property
    def worst_error(self) -> float | None:
        """Largest magnitude of the modelled layers' errors; None if none is modelled."""
        errors = [abs(layer.error) for layer in self.layers if layer.error is not None]
        return max(errors) if errors else None


def verify_axi(
    config: Accelerator,
    *,
    cases: int = 8,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> AxiReport:
    """Run `cases` layers through the AXI top of a configuration.

    Args:
        config: a configuration that has RTL.
        cases: how many, at least 1.
        seed: makes the same cases again.
        progress: told in words what happens.

    Raises:
        UserError: no top for this kind, a count below 1, a negative seed, or a tool is missing.
    """
    if cases < 1:
        raise UserError(f"--cases must be at least 1, but got {cases}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    if isinstance(config, SatConfig):
        from hwsim.verify_axi_sat import verify_axi_sat

        return verify_axi_sat(config, cases=cases, seed=seed, progress=progress)
    if isinstance(config, SpgemmConfig):
        from hwsim.verify_axi_spgemm import verify_axi_spgemm

        return verify_axi_spgemm(config, cases=cases, seed=seed, progress=progress)
    if isinstance(config, DeltaConfig):
        from hwsim.verify_axi_delta import verify_axi_delta

        return verify_axi_delta(config, cases=cases, seed=seed, progress=progress)
    raise UserError(
        f"kind: only sat, spgemm and delta have AXI tops, but {config.name} is a {config.kind}"
    )
