"""The figure of where energy goes, and the comparison with hwcomponents."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import yaml

from hwsim.api import simulate
from hwsim.energy_check import compare_with_hwcomponents
from hwsim.energy_figures import plot_energy
from hwsim.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "energy.md"
INSTALLED = all(
    importlib.util.find_spec(name) for name in ("hwcomponents_cacti", "hwcomponents_library")
)


@pytest.mark.parametrize(
    ("workload", "preset"),
    [("resnet9", "sat"), ("rmat:scale=5,edges=80,seed=1", "gamma")],
)
def test_bars_add_up_to_the_energy(workload, preset):
    result = simulate(workload, preset)
    axes = plot_energy(result)
    drawn = sum(bar.get_width() for bar in axes.patches)
    assert drawn == pytest.approx(result.summary["energy_pj"] * 1e-12)
    layers = [row for row in result.rows if row["energy_pj"]]
    ends = [0.0] * len(layers)
    for bars in axes.containers:
        for place, bar in enumerate(bars):
            ends[place] += bar.get_width()
    assert ends == pytest.approx([row["energy_pj"] * 1e-12 for row in layers])
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(shown) == len(axes.containers)
    assert sum(float(text.split(", ")[1].rstrip("%")) for text in shown) == pytest.approx(
        100, abs=1
    )
    assert "table" not in axes.get_title()


def test_the_worked_example_of_the_page():
    overrides = ["energy.source=table", "energy.node_nm=28"]
    result = simulate("resnet18", "sat", overrides=overrides)
    page = PAGE.read_text(encoding="utf-8")
    block = page.partition('"energy_pj":')[2].partition("```")[0]
    shown = json.loads('{"energy_pj":' + block + "}")
    assert shown["energy_pj"] == pytest.approx(result.summary["energy_pj"], rel=1e-12)
    assert shown["energy_parts_pj"] == pytest.approx(result.summary["energy_parts_pj"], rel=1e-12)
    given = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])["energy"]
    block = result.config.energy.model_dump()
    assert list(given) == list(block)
    for name, value in block.items():
        assert given[name] == (pytest.approx(value, rel=1e-12) if "_pj" in name else value)
    assert "table at 28 nm: 5.68 mJ" in plot_energy(result).get_title()


def test_a_cacti_that_does_not_run_is_one_sentence(monkeypatch):
    asked = []

    class Broken:
        def __init__(self, **options):
            asked.append(options)
            raise RuntimeError("CACTI failed with exit code 1.\nmore")

    monkeypatch.setitem(sys.modules, "hwcomponents_cacti", types.SimpleNamespace(SRAM=Broken))
    monkeypatch.setitem(sys.modules, "hwcomponents_library", types.SimpleNamespace())
    with pytest.raises(UserError) as error:
        compare_with_hwcomponents()
    assert str(error.value) == (
        "hwcomponents_cacti could not run CACTI: CACTI failed with exit code 1."
    )
    # metres and bits
    assert asked == [{"tech_node": pytest.approx(45e-9), "width": 64, "size": 8 * 8192}]


@pytest.mark.skipif(INSTALLED, reason="hwcomponents is installed")
def test_without_hwcomponents_it_is_one_sentence():
    with pytest.raises(UserError, match="must be installed for this comparison, which needs"):
        compare_with_hwcomponents()


@pytest.mark.skipif(not INSTALLED, reason="hwcomponents-cacti needs Python 3.12")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_table_beside_hwcomponents():
    try:
        rows = compare_with_hwcomponents()
    except UserError as error:  # the wheel's program asks for a newer C library than some have
        pytest.skip(str(error))
    assert len(rows) == 9
    for row in rows:
        # memories and registers agree; Aladdin's arithmetic takes two to five times Horowitz's
        least = 0.9 if "read" in row.event else 0.2
        assert least < row.ratio < 2, row
