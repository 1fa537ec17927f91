"""Points a second of a sweep, counts only; the example's grid, whole run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from hwsim.sweep_run import run_sweep

SPEC = Path(__file__).parent.parent / "examples" / "sweep_sat.yaml"


def test_example_sweep_on_two_processes(benchmark, tmp_path):
    def whole():
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        frame = run_sweep(SPEC, out, workers=2)
        return len(frame) / (time.perf_counter() - started)

    whole()
    rate = benchmark.pedantic(whole, rounds=3)
    benchmark.extra_info["points_per_s"] = rate
