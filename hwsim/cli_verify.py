"""What `hwsim verify` prints: each function runs one kind of verification and says if it passed."""

from __future__ import annotations

import json as encoder
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.config import Accelerator

if TYPE_CHECKING:
    from hwsim.verify_axi import AxiReport

__all__ = ["axi", "blocks", "cores", "training"]


def cores(
    config: Accelerator,
    cases: int,
    seed: int,
    only: int | None,
    waves: Path | None,
    again: str,
    json: bool,
) -> bool:
    """Random cases through the core.

    Args:
        config: what to verify.
        cases, seed: of the run.
        only: just this case.
        waves: where a waveform of it goes.
        again: the command without cases, to repeat a case with.
        json: print an object in place of text.
    """
    from hwsim.verify_any import verify

    report = verify(config, cases=cases, seed=seed, only=only, waves=waves, progress=_tell)
    if json:
        _print_json(asdict(report))
    else:
        print(f"{report.passed} of {report.cases} cases: {report.compared} equal")
        print(f"{report.rtl_cycles:,} RTL cycles, {report.result_words:,} result words")
        for line in report.designs:
            print(f"  {line}")
        _seconds(report)
    for failure in report.failures[:10]:
        _tell(
            f"case {failure.number} failed on {failure.config}: {failure.case}\n"
            f"  {failure.what}\n"
            f"  again: {again} --cases {cases} --seed {seed} --case {failure.number} "
            "--waves case.vcd"
        )
    return report.ok


def axi(config: Accelerator, cases: int, seed: int, json: bool) -> bool:
    """Whole layers through the FPGA-ready top."""
    from hwsim.verify_axi import verify_axi

    report = verify_axi(config, cases=cases, seed=seed, progress=_tell)
    if json:
        _print_json(_axi_data(report))
    else:
        print(report.config)
        for layer in report.layers:
            error = "" if layer.error is None else f", model {layer.error:+.1%}"
            print(
                f"  {layer.name}; {layer.memory}: {layer.rtl_cycles:,} cycles{error}; "
                f"core {layer.core_cycles:,} of {layer.model_core_cycles:,}"
            )
        passed = len(report.layers) - len(report.failures)
        print(f"{passed} of {len(report.layers)} layers: values and core cycles equal")
        if report.mean_error is not None and report.worst_error is not None:
            print(
                f"error of the memory system's model: {report.mean_error:.1%} on average, "
                f"{report.worst_error:.1%} at most"
            )
        for note in report.notes:
            print(note)
        _seconds(report)
    for layer in report.failures[:10]:
        _tell(f"{layer.name} failed: {layer.what or 'values or core cycles differ'}")
    return report.ok


def training(
    config: Accelerator, network: str, steps: int, batch: int, seed: int, json: bool
) -> bool:
    """Whole training steps of a network through the training engine."""
    from hwsim.verify_training import verify_training

    report = verify_training(config, network, steps=steps, batch=batch, seed=seed, progress=_tell)
    if json:
        _print_json(asdict(report))
    elif report.ok:
        print(
            f"{report.steps} training steps of {report.network}: weights, momenta, masks and "
            "cycles equal"
        )
        losses = ", ".join(f"{loss:.4f}" for loss in report.losses)
        print(
            f"{report.commands} commands, {report.cycles:,} RTL cycles, "
            f"{report.values:,} words compared, losses {losses}"
        )
        _seconds(report)
    if not report.ok:
        _tell(report.difference)
    return report.ok


def blocks(config: Accelerator, cases: int, seed: int, json: bool) -> bool:
    """Random cases through the blocks around the array."""
    from hwsim.verify_blocks import verify_blocks

    outcomes = verify_blocks(config, cases, seed, _tell)
    of = {
        name: [o for o in outcomes if o.block == name]
        for name in sorted({o.block for o in outcomes})
    }
    passed = sum(o.ok for o in outcomes)
    if json:
        _print_json(
            {
                "cases": len(outcomes),
                "passed": passed,
                "blocks": {
                    name: {"cases": len(some), "passed": sum(o.ok for o in some)}
                    for name, some in of.items()
                },
            }
        )
    else:
        print(f"{passed} of {len(outcomes)} cases: values and cycles equal")
        for name, some in of.items():
            print(f"  {name}: {len(some)} cases, {sum(o.rtl_cycles for o in some):,} RTL cycles")
    for outcome in [o for o in outcomes if not o.ok][:10]:
        _tell(f"{outcome.block}: {outcome.case}\n  {outcome.detail}")
    return passed == len(outcomes)


def _axi_data(report: AxiReport) -> dict[str, Any]:
    derived = ("ok", "mean_error", "worst_error")
    data = asdict(report) | {name: getattr(report, name) for name in derived}
    for row, layer in zip(data["layers"], report.layers, strict=True):
        row |= {"error": layer.error, "ok": layer.ok, "counters": dict(layer.counters)}
    return data


def _seconds(report: Any) -> None:
    print(f"build {report.seconds_build:.1f} s, run {report.seconds_run:.1f} s")


def _tell(message: str) -> None:
    print(message, file=sys.stderr)


def _print_json(data: Any) -> None:
    print(encoder.dumps(data, indent=2, allow_nan=False))
