"""The area model: exact memories, a fit that finds what is there, an estimate that makes sense."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.area import PARTS, estimate, model_errors
from hwsim.area_fit import fit_area, fittable, write_model
from hwsim.area_laws import block_rams, core_parts, queue_luts, unit_part
from hwsim.area_model import RESOURCES, predict, resource_terms
from hwsim.area_points import area_points
from hwsim.area_registers import Registers
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.synth_rows import COUNTS, Row, read_rows

TABLE = Path(__file__).parents[2] / "docs" / "data" / "synthesis.csv"
needs_table = pytest.mark.skipif(
    not resources.files("hwsim").joinpath("area_model.json").is_file(),
    reason="the area model is not made: make synthesis-table",
)
KINDS = ("sat", "spgemm", "delta", "edgedrnn")


def fitted(kind, target):
    """Whether the table has the points that the estimate needs."""
    try:
        estimate(load_config(kind), target)
    except UserError as error:
        assert "examples/synthesis_table.py makes them" in str(error)
        return False
    return True


@pytest.mark.parametrize(
    ("target", "depth", "width", "count"),
    [
        ("xcup", 512, 32, 0.5),
        ("xcup", 512, 72, 1),
        ("xcup", 1024, 36, 1),
        ("xcup", 4096, 24, 3),
        ("xcup", 64, 32, 0),
        ("ecp5", 512, 36, 1),
        ("ecp5", 512, 37, 2),
        ("ecp5", 1024, 18, 1),
        ("ecp5", 32, 32, 0),
        ("generic", 100, 7, 700),
    ],
)
def test_block_rams_of_a_memory(target, depth, width, count):
    assert block_rams(target, depth, width) == count


@given(depth=st.integers(2, 1 << 17), width=st.integers(1, 300))
def test_block_rams_hold_the_memory_and_no_more_than_the_widest_shape_needs(depth, width):
    assert block_rams("xcup", depth, width) * 36864 >= depth * width or depth <= 64
    assert block_rams("ecp5", depth, width) <= -(-depth // 512) * -(-width // 36)
    for target in ("xcup", "ecp5"):
        assert block_rams(target, depth + 1, width) >= block_rams(target, depth, width)
        assert block_rams(target, depth, width + 1) >= block_rams(target, depth, width)
        assert queue_luts(target, 2, width) <= queue_luts(target, 64, width)


def test_a_fit_finds_the_coefficients_that_made_the_points():
    rng = np.random.default_rng(7)
    rows, truth = [], {}
    for point in area_points():
        config = load_config(point.preset, list(point.overrides))
        core = {"sat": "stce", "spgemm": "engine", "delta": "layer", "edgedrnn": "gru"}
        unit = core[point.preset] if point.block in ("engine", "stce") else point.block
        for target, names in RESOURCES.items():
            counts = dict.fromkeys(COUNTS)
            parts = {unit: 1} | (core_parts(config) if unit in core.values() else {})
            for name in names:
                counts[name] = 0.0
                for part, number in parts.items():
                    terms = resource_terms(unit_part(config, part, target), target)[name]
                    for term, size in terms.items():
                        key = (target, name, part, term)
                        truth.setdefault(key, float(rng.uniform(1, 9)))
                        counts[name] += number * size * truth[key]
            rows.append(Row(point=point, target=target, counts=counts))
    fit = fit_area(rows)
    assert len(fit.residuals) == sum(len(RESOURCES[row.target]) for row in rows)
    for entry in fit.summary():
        if entry["role"] == "fit":
            # what fitted points do not tell apart may move between terms, and a core's points
            # have parts of other sizes than the parts' own points
            bound = 0.01 if entry["unit"] in core.values() else 1e-6
            assert abs(entry["largest"]) < bound, entry
    config = load_config("sat", ["rows=32", "cols=32"])
    expected = {
        name: sum(
            number * size * truth["xcup", name, part, term]
            for part, number in {"stce": 1, "uspe": 1024}.items()
            for term, size in resource_terms(unit_part(config, part, "xcup"), "xcup")[name].items()
        )
        for name in RESOURCES["xcup"]
    }
    assert predict(fit.model, config, "stce", "xcup") == pytest.approx(expected, rel=1e-3)


@needs_table
def test_only_fitted_points_move_the_model(tmp_path):
    rows = [row for row in fittable(read_rows(TABLE)) if row.point.preset == "sat"]
    changed = [
        Row(
            point=row.point,
            target=row.target,
            counts={k: v and 2 * v for k, v in row.counts.items()},
        )
        if row.point.role == "check"
        else row
        for row in rows
    ]
    first, second = fit_area(rows), fit_area(changed)
    assert first.model == second.model
    before, after = (
        {r.point: r.relative for r in fit.residuals if (r.role, r.resource) == ("check", "lut")}
        for fit in (first, second)
    )
    assert before
    assert all(abs(after[name]) > abs(before[name]) for name in before)
    with pytest.raises(ValueError, match="needs rows with the role fit"):
        fit_area([row for row in rows if row.point.role == "check"])
    write_model(first, tmp_path / "model.json")
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["model"].keys() == first.model.keys()


@needs_table
def test_the_model_in_the_package_is_that_of_the_table(tmp_path):
    write_model(fit_area(fittable(read_rows(TABLE))), tmp_path / "model.json")
    packed = json.loads(resources.files("hwsim").joinpath("area_model.json").read_text())
    again = json.loads((tmp_path / "model.json").read_text())
    assert again["tools"] == packed["tools"]
    for target, names in again["model"].items():
        for name, units in names.items():
            for unit, terms in units.items():
                kept = packed["model"][target][name][unit]
                assert terms == pytest.approx(kept, rel=1e-4, abs=1e-6), (target, name, unit)


@needs_table
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", RESOURCES)
def test_every_preset_has_an_area(kind, target):
    if (kind, target) != ("sat", "xcup") and not fitted(kind, target):
        pytest.skip(f"no points of {kind} for {target}: make synthesis-table")
    found = estimate(load_config(kind), target)
    assert found.ff > 100
    if target == "generic":
        assert found.transistors > 2 * found.gates > 0
        assert found.memory_bits > 0
        assert found.lut == found.dsp == 0
    else:
        assert found.lut > 100
        assert found.dsp > 0
        assert found.bram > 0
        assert found.gates == 0


@needs_table
@pytest.mark.parametrize("target", ["xcup", "ecp5"])
@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    number=st.sampled_from(["int8", "fp16"]),
)
def test_a_larger_array_is_larger_and_has_a_multiplier_a_pe(rows, cols, number, target):
    if target != "xcup" and not fitted("sat", target):
        pytest.skip(f"no points of sat for {target}: make synthesis-table")
    small, taller, wider = (
        estimate(load_config("sat", [f"rows={r}", f"cols={c}", f"format={number}"]), target)
        for r, c in ((rows, cols), (rows + 1, cols), (rows, cols + 1))
    )
    assert small.dsp == rows * cols
    for larger in (taller, wider):
        assert larger.lut > small.lut
        assert larger.ff > small.ff
    assert wider.bram > small.bram == taller.bram


@needs_table
def test_a_block_without_most_of_its_points_leaves_its_design_out():
    rows = fittable(read_rows(TABLE))
    engines = [r for r in rows if (r.point.preset, r.point.block) == ("delta", "engine")]
    fit = [r for r in engines if r.point.role == "fit"]
    assert len(fit) == 7
    presets = {r.point.preset for r in rows}
    one_less = fittable([r for r in rows if r is not fit[0]])
    assert {r.point.preset for r in one_less} == presets
    two_less = fittable([r for r in rows if r not in fit[:2]])
    assert {r.point.preset for r in two_less} == presets - {"delta"}


@needs_table
def test_flip_flops_of_pes_and_arrays_are_counted_bit_by_bit():
    """Sizes, patterns and pipelines that the fit has not seen too."""
    fit = fit_area(fittable(read_rows(TABLE)))
    errors = {
        unit: [
            r.relative
            for r in fit.residuals
            if (r.target, r.unit, r.resource) == ("xcup", unit, "ff")
        ]
        for unit in ("uspe", "stce")
    }
    assert len(errors["uspe"]) >= 40
    # a bit or two of constants that synthesis finds in deep pipelines, of some 200 to 700
    assert max(map(abs, errors["uspe"])) < 0.01
    # control and delay lines of small arrays are fitted, not counted
    assert max(map(abs, errors["stce"])) < 0.05


@given(bits=st.integers(1, 64), steps=st.integers(0, 200))
def test_shift_registers(bits, steps):
    plain, packed = Registers("ecp5"), Registers("xcup")
    for registers in (plain, packed):
        registers.add(bits, steps)
    assert (plain.flip_flops, plain.luts) == (bits * steps, 0)
    assert packed.flip_flops == (bits * steps if steps < 3 else 0)
    assert packed.luts == (0 if steps < 3 else bits * math.ceil(steps / 32))


@needs_table
def test_what_is_beside_the_core_is_told_apart():
    config = load_config("sat")
    core, engine = estimate(config), estimate(config, training=True)
    assert set(core.blocks) == {"stce"}
    assert set(engine.blocks) == {"stce", "sore", "wuve", "post"}
    assert engine.lut == pytest.approx(sum(b["lut"] for b in engine.blocks.values()), abs=1)
    assert engine.dsp > core.dsp == 1024
    assert core.buffer_bram == 3 * 2097152 // 4096
    if fitted("spgemm", "xcup"):
        assert estimate(load_config("spgemm")).buffer_bram == 0
    if fitted("delta", "xcup"):
        one = estimate(load_config("delta"))
        four = estimate(load_config("delta", ["clusters=4"]))
        assert four.dsp == 4 * one.dsp


@needs_table
def test_the_published_array_against_its_part():
    found = estimate(load_config("sat"))
    share = found.share("vu9p")
    assert share["dsp"] == 1024 / 6840
    assert share["bram"] == 16 / 2160  # 512 sums of 32 bits are half a BRAM36 a column
    assert found.fits("vu9p") == (max(share.values()) <= 1)
    if fitted("sat", "ecp5"):
        assert not estimate(load_config("sat"), "ecp5").fits("lfe5u-85f")
    assert PARTS["vu9p"].uram == 960
    with pytest.raises(
        UserError, match=r"^part must be one of vu9p for xcup, but got 'lfe5u-85f'$"
    ):
        found.share("lfe5u-85f")


def test_a_mistake_is_one_sentence():
    with pytest.raises(
        UserError, match=r"^target must be one of xcup, ecp5, generic, but got 'x'$"
    ):
        estimate(load_config("sat"), "x")
    with pytest.raises(UserError, match=r"^kind: there is an area model for sat, spgemm and delta"):
        estimate(load_config("systolic"))
    with pytest.raises(UserError, match=r"^training: the training engine is sat's"):
        estimate(load_config("spgemm"), training=True)


@needs_table
def test_the_model_is_near_its_points():
    errors = model_errors()
    assert {entry["role"] for entry in errors} == {"fit", "check"}
    cores = [e for e in errors if e["unit"] in ("stce", "engine", "layer", "gru")]
    for entry in cores:
        if entry["resource"] in ("lut", "ff", "gates"):
            assert entry["rms"] < 0.15, entry
