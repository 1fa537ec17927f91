"""How much of B Gamma's fibre cache saves, by its size: docs/images/gamma-fibre-cache.png.

The graph stands for email-Enron, which the published counts show not to fit 3 MB: an R-MAT of scale
15 with about as many entries, its rows taken in their order and in Gamma's affinity order.

    python examples/gamma_cache.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from hwsim.dataflows.fibre_cache import fibre_traffic
from hwsim.dataflows.row_order import affinity_order, permute_rows
from hwsim.models.rmat import RmatSpec, rmat

KIB = [2**i for i in range(6, 14)]
GAMMA_BYTES = 3 << 20


def main(folder: Path) -> None:
    b = rmat(RmatSpec(scale=15, edges=397_000, seed=1)).matrix
    ordered = permute_rows(b, affinity_order(b, GAMMA_BYTES))
    once = fibre_traffic(b.indices, b.row_lengths, cache_bytes=1 << 40).bytes_fetched
    sizes = np.array(sorted([*KIB, GAMMA_BYTES >> 10, once >> 10]))
    print(f"nnz {b.nnz}, B {once} bytes; fetches of B, times B, by KiB of cache")
    print(f"{'':24}", *(f"{size:8}" for size in sizes))
    _, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for policy, colour in (("lru", "C0"), ("next_use", "C1")):
        for a, order, style in ((b, "natural", "-"), (ordered, "affinity", "--")):
            times = [
                fibre_traffic(
                    a.indices, b.row_lengths, cache_bytes=int(size) << 10, policy=policy
                ).bytes_fetched
                / once
                for size in sizes
            ]
            print(f"{policy:10}{order:14}", *(f"{value:8.3f}" for value in times))
            label = f"{policy}, {order} order"
            axes.plot(sizes, times, style, color=colour, marker=".", label=label)
    axes.axvline(GAMMA_BYTES >> 10, color="0.6", linewidth=1)
    axes.annotate("Gamma: 3 MB ", (GAMMA_BYTES >> 10, 200), ha="right", va="top", rotation=90)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="fibre cache (KiB)",
        ylabel="bytes of B fetched / bytes of B",
        title="C = A A, R-MAT of scale 15, row-wise",
    )
    axes.set_xticks([64, 256, 1024, 4096], ["64", "256", "1024", "4096"])
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    plt.savefig(folder / "gamma-fibre-cache.png", dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"))
