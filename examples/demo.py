"""The whole loop on one page: simulate, generate, verify.

python examples/demo.py build/demo
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hwsim import simulate
from hwsim.config import load_config
from hwsim.design import write_design
from hwsim.verify import verify

CASES = 20


def main(folder: Path) -> int:
    """Simulate ResNet-18 dense and 2:4, write an 8 x 8 array's Verilog and verify it."""
    started = time.perf_counter()
    runs = {}
    for sparsity in ("dense", "2:4"):
        print(f"simulating ResNet-18 on sat, {sparsity} ...", flush=True)
        result = simulate("resnet18", "sat", overrides=[f"sparsity={sparsity}"])
        result.write(folder / f"resnet18-{sparsity.replace(':', '-')}")
        runs[sparsity] = result.summary
    steps = {}
    for sparsity in ("dense", "2:8"):
        print(f"simulating a training step of ResNet-18, {sparsity} ...", flush=True)
        result = simulate(
            "resnet18", "sat", overrides=[f"sparsity={sparsity}"], phase="training", batch=64
        )
        result.write(folder / f"resnet18-training-{sparsity.replace(':', '-')}")
        steps[sparsity] = result.summary["cycles"]
    simulated = time.perf_counter()

    config = load_config("sat", ["rows=8", "cols=8"])
    print("generating the Verilog of an 8 x 8 array ...", flush=True)
    files = write_design(config, folder / "sat-8x8")
    generated = time.perf_counter()

    report = verify(config, cases=CASES, seed=1, progress=lambda m: print(f"{m} ...", flush=True))
    verified = time.perf_counter()

    dense, sparse = runs["dense"], runs["2:4"]
    print()
    print(f"{'ResNet-18 on a 32 x 32 sat array':42}{'dense':>14}{'2:4':>14}")
    for label, key, scale, form in (
        ("cycles", "cycles", 1, ",.0f"),
        ("milliseconds at 200 MHz", "seconds", 1e-3, ",.3f"),
        ("kept MACs, millions", "macs_effective", 1e6, ",.0f"),
        ("utilisation of the array", "utilization", 0.01, ".1f"),
        ("DRAM traffic, MB", "traffic", 1e6, ",.1f"),
        ("energy, mJ (45 nm figures)", "energy_pj", 1e9, ",.2f"),
    ):
        cells = [
            (s["dram_read_bytes"] + s["dram_write_bytes"] if key == "traffic" else s[key]) / scale
            for s in (dense, sparse)
        ]
        print(f"  {label:40}" + "".join(f"{cell:>14{form}}" for cell in cells))
    print(f"  {'speedup':40}{'':>14}{dense['cycles'] / sparse['cycles']:>13.2f}x")
    print(f"a training step, batch 64, BDWP 2:8:   {steps['dense'] / steps['2:8']:>31.2f}x")
    print()
    lines = files[0].read_text(encoding="utf-8").count("\n")
    print(f"Verilog of an 8 x 8 array, FP16/FP32: {lines:,} lines in {files[0]}")
    print(
        f"RTL against simulator and golden model: {report.passed} of {report.cases} cases equal, "
        f"values and cycles ({report.rtl_cycles:,} RTL cycles)"
    )
    print(
        f"took {simulated - started:.1f} s to simulate and plot, {generated - simulated:.1f} s to "
        f"generate, {verified - generated:.1f} s to build and verify"
    )
    print(f"figures, tables and files are in {folder}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")))
