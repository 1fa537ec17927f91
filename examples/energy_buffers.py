"""Energy of ResNet-18 on sat against the size of its buffers, as stated and from the table.

    python examples/energy_buffers.py -o FOLDER

prints the table of docs/energy.md and writes `energy-buffers.png`. Stated energies of an access do
not depend on a buffer's size, so larger buffers always look better; the table's grow with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwsim.api import simulate
from hwsim.figures import render
from hwsim.files import make_folder, write_all

KILOBYTES = (128, 256, 512, 1024, 2048, 4096, 8192)
"""Of each of the three buffers; sat has 2048."""
CASES = {
    "as stated, 45 nm": (),
    "from the table, 45 nm": ("energy.source=table",),
    "from the table, 28 nm, HBM2": (
        "energy.source=table",
        "energy.node_nm=28",
        "energy.dram_kind=hbm2",
    ),
}
COLOURS = {"mac": "#3b6ea5", "vector": "#a9c4e0", "buffer": "#edae49", "dram": "#d1495b"}


def parts_of(case: tuple[str, ...], kilobytes: int) -> dict[str, float]:
    """Energy in millijoules by part."""
    sizes = [f"buffers.{name}_bytes={kilobytes << 10}" for name in ("input", "weight", "output")]
    summary = simulate("resnet18", "sat", overrides=[*case, *sizes]).summary
    return {name: energy * 1e-9 for name, energy in summary["energy_parts_pj"].items()}


def draw(axes: Axes, name: str, points: list[dict[str, float]]) -> None:
    """Stacked bars by size; the least is marked."""
    below = [0.0] * len(points)
    for part, colour in COLOURS.items():
        values = [point[part] for point in points]
        axes.bar(range(len(points)), values, bottom=below, color=colour, label=part, width=0.75)
        below = [a + b for a, b in zip(below, values, strict=True)]
    best = below.index(min(below))
    axes.annotate(
        f"{below[best]:.2f}",
        (best, below[best]),
        textcoords="offset points",
        xytext=(0, 3),
        ha="center",
        fontsize=8,
    )
    axes.set_xticks(range(len(points)), [f"{size:,}" for size in KILOBYTES], fontsize=7)
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("KB of each buffer")
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", default=".", help="folder of energy-buffers.png")
    folder = make_folder(Path(parser.parse_args().out))
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, len(CASES), sharey=True)
    found = {name: [parts_of(case, size) for size in KILOBYTES] for name, case in CASES.items()}
    for axes, (name, points) in zip(panels, found.items(), strict=True):
        draw(axes, name, points)
    panels[0].set_ylabel("mJ an image")
    panels[0].legend(fontsize=8)
    write_all(folder, {"energy-buffers.png": render(figure, "png")})
    print("| KB of each buffer | " + " | ".join(CASES) + " |")
    print("| --- " * (1 + len(CASES)) + "|")
    for row, size in enumerate(KILOBYTES):
        cells = (
            f"{sum(points[row].values()):.2f} ({points[row]['buffer']:.2f})"
            for points in found.values()
        )
        print(f"| {size:,} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
