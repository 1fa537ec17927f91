"""How much of B Gamma's fibre cache saves, by its size: docs/images/gamma-fibre-cache.png.

The graph stands for email-Enron, which the published counts show not to fit 3 MB: R-MAT of scale
15 with as many entries, once as generated (heavy rows together) and once with labels permuted.

    python examples/gamma_cache.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from hwsim.dataflows.fibre_cache import POLICIES, fibre_traffic
from hwsim.models.rmat import RmatSpec, rmat

KIB = [2**i for i in range(6, 14)]
GAMMA_BYTES = 3 << 20


def main(folder: Path) -> None:
    _, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for permute, style in ((False, "-"), (True, "--")):
        a = rmat(RmatSpec(scale=15, edges=397_000, seed=1, permute=permute)).matrix
        once = fibre_traffic(a.indices, a.row_lengths, cache_bytes=1 << 40).bytes_fetched
        print(f"labels {'permuted' if permute else 'as generated'}: nnz {a.nnz}, B {once} bytes")
        for policy, colour in zip(POLICIES, ("C0", "C1"), strict=True):
            sizes = np.array([*KIB, GAMMA_BYTES >> 10, once >> 10])
            sizes.sort()
            times = [
                fibre_traffic(
                    a.indices, a.row_lengths, cache_bytes=int(size) << 10, policy=policy
                ).bytes_fetched
                / once
                for size in sizes
            ]
            for size, value in zip(sizes, times, strict=True):
                print(f"  {policy:8} {size:6} KiB {value:7.3f}")
            label = f"{policy}, {'permuted' if permute else 'as generated'}"
            axes.plot(sizes, times, style, color=colour, marker=".", label=label)
    axes.axvline(GAMMA_BYTES >> 10, color="0.6", linewidth=1)
    axes.annotate("Gamma: 3 MB", (GAMMA_BYTES >> 10, axes.get_ylim()[1]), ha="right", va="top",
                  rotation=90, color="0.4")  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="fibre cache (KiB)",
        ylabel="bytes of B fetched / bytes of B",
        title="C = A A, R-MAT of scale 15, row-wise",
    )
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    plt.savefig(folder / "gamma-fibre-cache.png", dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"))
