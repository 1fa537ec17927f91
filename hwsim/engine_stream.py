"""Runs a stream of frames on whichever machine a configuration describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwsim.config import MacSkipConfig, StreamConfig
from hwsim.delta_result import DeltaResult
from hwsim.errors import UserError

__all__ = ["simulate_stream"]


def simulate_stream(
    workload: Any,
    config: StreamConfig,
    *,
    source: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DeltaResult:
    """Run a network over a stream of real frames.

    Args:
        workload: a name of `hwsim.workloads_stream.STREAMS` or `hwsim.engine_clip.CLIPS` for a
            machine that skips in time; a file that `hwsim.workloads_mask` reads for one that skips
            zeros.
        config: the machine.
        source: the stream or input; None is the workload's own example.
        seed: kept in the summary.
        progress: told (layers done, in all).

    Raises:
        UserError: an unknown workload, a stream that cannot be used, or a network that does not
            fit the machine.
    """
    if isinstance(config, MacSkipConfig):
        from hwsim.engine_mac_skip import simulate_masked
        from hwsim.workloads_mask import load_masked

        masked = load_masked(workload, source)
        return simulate_masked(
            masked.name, masked.inputs, config, seed=seed, notes=masked.notes, progress=progress
        )
    if not isinstance(workload, str):
        kind = type(workload).__name__
        raise UserError(f"a stream's workload must be a name, but got a {kind}")
    if config.engine == "gru":
        from hwsim.engine_edgedrnn import simulate_stream as run

        return run(workload, config, source=source, seed=seed, progress=progress)
    from hwsim.engine_clip import simulate_clip

    return simulate_clip(workload, config, source=source, seed=seed, progress=progress)
