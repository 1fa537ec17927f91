"""Energy is counters times energies, in every family, to the last bit; blocks from the table."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.api import simulate
from hwsim.config import dump_config, load_config, preset_names, replace
from hwsim.energy import LAWS, energy_parts, table, total_pj
from hwsim.energy_data import row
from hwsim.energy_laws import scale, sram_pj
from hwsim.engine_delta import run_stream
from hwsim.engine_edgedrnn import LayerStream, gru_run
from hwsim.engine_mac_skip import simulate_masked
from hwsim.errors import UserError
from hwsim.models.counters import COUNTERS
from hwsim.models.delta import Conv, DeltaEncoder, Output
from hwsim.models.masks import MaskedLayer

PRESET_OF = {
    "sat": "sat",
    "systolic": "systolic",
    "spgemm": "spgemm",
    "spgemm_dataflow": "gamma",
    "piuma": "piuma",
    "delta": "delta",
    "mac_skip": "scnn",
}
TABLE = ("energy.source=table",)
MATRIX = "rmat:scale=5,edges=80,seed=1"


def naive(kind, e, c, clock):
    """Every family's energy written out: what `LAWS` must say, in the same order of operations."""
    n = lambda name: c.get(name, 0)  # noqa: E731
    dram = (n("dram.read") + n("dram.write")) * e.dram_pj
    if kind in ("sat", "systolic"):
        reads = n("buffer.input_read") + n("buffer.weight_read") + n("dram.write")
        writes = n("buffer.output_write") + n("dram.read")
        return {
            "mac": (n("sat.stce.mac") + n("systolic.array.mac")) * e.mac_pj,
            "vector": n("engine.vector_op") * e.vector_pj,
            "buffer": reads * e.buffer_read_pj + writes * e.buffer_write_pj,
            "dram": n("buffer.dma") * e.dram_pj,
        }
    if kind == "spgemm":
        formed = n("spgemm.multiply") + n("spgemm.hash.spill")
        inserts, sums = n("spgemm.hash.insert"), n("spgemm.hash.accumulate")
        return {
            "multiply": formed * e.multiply_pj,
            "add": sums * e.add_pj,
            "probe": (n("spgemm.hash.probe") + inserts) * e.probe_pj,
            "dense": 2 * (inserts + sums) * e.dense_pj,
            "queue": formed * e.queue_pj,
            "dram": dram,
        }
    if kind == "spgemm_dataflow":
        return {
            "multiply": n("spgemm.multiply") * e.multiply_pj,
            "add": n("spgemm.add") * e.add_pj,
            "merge": (n("spgemm.merge.element") + n("spgemm.merge.compare")) * e.merge_pj,
            "compare": n("spgemm.inner.compare") * e.compare_pj,
            "probe": n("spgemm.hash.probe") * e.probe_pj,
            "cache": n("spgemm.fibre_cache.read") * e.cache_pj,
            "dram": dram,
        }
    if kind == "piuma":
        return {
            "instructions": n("spgemm.piuma.instruction") * e.instruction_pj,
            "scratchpad": n("spgemm.piuma.scratchpad") * e.scratchpad_pj,
            "atomics": n("spgemm.piuma.atomic") * e.atomic_pj,
            "cache": (n("spgemm.cache.hit") + n("spgemm.cache.miss")) * e.cache_pj,
            "dram": dram,
            "mesh": n("spgemm.piuma.hop") * e.hop_pj,
            "static": n("spgemm.piuma.cycle") / clock * e.static_w * 1e12,
        }
    if kind == "delta":
        return {
            "mac": n("delta.mac") * e.mac_pj,
            "weights": n("delta.weight_bytes") * e.weight_pj,
            "state": n("delta.state_bits") / 8 * e.state_pj,
            "dram": dram,
        }
    return {"mac": n("mac_skip.issued") * e.mac_pj, "dram": dram}


def fields(config):
    """The energies of a block that are numbers."""
    block = config.energy.model_dump()
    return [name for name, value in block.items() if name.endswith(("_pj", "_w")) and value]


@st.composite
def priced(draw):
    """A configuration of any family with any energies, and any counts of any counters."""
    kind = draw(st.sampled_from(sorted(PRESET_OF)))
    config = load_config(PRESET_OF[kind])
    energies = draw(st.lists(st.floats(0.001, 1e4), min_size=12, max_size=12))
    changes = dict(zip((f"energy.{f}" for f in fields(config)), energies, strict=False))
    names = [name for terms in LAWS[kind].values() for t in terms for name in t.counters]
    names += ["bus.cycle"]  # one that no energy depends on
    counters = draw(st.dictionaries(st.sampled_from(sorted(set(names))), st.integers(0, 10**12)))
    return replace(config, changes), counters


@settings(deadline=None)
@given(priced())
def test_parts_are_counters_times_energies_to_the_last_bit(given_):
    config, counters = given_
    parts = energy_parts(config, counters)
    assert parts == naive(config.kind, config.energy, counters, config.clock_hz)
    assert list(parts) == list(LAWS[config.kind])
    assert total_pj(parts) == sum(parts.values())


@settings(deadline=None)
@given(priced(), st.data())
def test_doubling_an_energy_changes_its_parts_alone(given_, data):
    config, counters = given_
    field = data.draw(st.sampled_from(fields(config)))
    more = replace(config, {f"energy.{field}": 2 * getattr(config.energy, field)})
    before, after = energy_parts(config, counters), energy_parts(more, counters)
    for part, terms in LAWS[config.kind].items():
        used = {term.field_of(config.energy) for term in terms}
        if field not in used:
            assert after[part] == before[part]
        elif used == {field}:
            assert after[part] == 2 * before[part]
        else:
            others = energy_parts(replace(config, {f"energy.{field}": 0.0}), counters)[part]
            assert after[part] - others == pytest.approx(2 * (before[part] - others), rel=1e-9)


def test_every_energy_and_every_counter_of_the_laws_exists():
    for kind, parts in LAWS.items():
        config = load_config(PRESET_OF[kind])
        terms = [term for terms in parts.values() for term in terms]
        for term in terms:
            assert hasattr(config.energy, term.field)
            assert set(term.counters) <= set(COUNTERS)
            assert term.share in (1.0, 1 / 8)
        # no energy of the block is left without an event
        used = {t.field for t in terms} | {t.instead for t in terms}
        given_ = {n for n in type(config.energy).model_fields if n.endswith(("_pj", "_w"))}
        assert given_ <= used


def conv_stream(config):
    rng = np.random.default_rng(0)
    codes = Output(np.zeros(8, np.int64), np.full(8, 40, np.int64), 14)
    layer = Conv(rng.integers(-9, 10, (8, 2, 3, 3)), codes, pad=1)
    frames = rng.integers(0, 40, (3, 2, 6, 6))
    frames[1:] = np.where(rng.random((2, 2, 6, 6)) < 0.2, frames[1:], frames[0])
    return run_stream(DeltaEncoder(), [layer], frames, config).runs


def recurrent(config):
    rng = np.random.default_rng(1)
    mask = rng.random((20, 40)) < 0.3
    stream = LayerStream(24, 16, mask, rng.random((20, 16)), 0)
    return (gru_run("gru0", stream, config, first=True),)


def masked_layer():
    rng = np.random.default_rng(2)
    weights = rng.random((8, 4, 3, 3)) < 0.4
    return MaskedLayer("conv", rng.random((4, 6, 6)) < 0.4, weights, pads=((1, 1), (1, 1)))


@pytest.mark.parametrize(
    ("workload", "preset"),
    [("resnet9", "sat"), ("resnet9", "systolic")]
    + [(MATRIX, name) for name in ("spgemm", "piuma", "gamma", "outerspace", "two_pass_hash")]
    + [(MATRIX, "inner_product")],
)
def test_a_summary_can_be_computed_again_from_its_files(workload, preset, tmp_path):
    result = simulate(workload, preset)
    result.write(tmp_path, figures=False)
    summary = json.loads((tmp_path / "summary.json").read_text())
    config = load_config(tmp_path / "config.yaml")
    parts = naive(config.kind, config.energy, summary["counters"], config.clock_hz)
    assert summary["energy_parts_pj"] == parts
    assert summary["energy_pj"] == sum(parts.values()) > 0
    for run in result.runs:
        assert run.energy_parts_pj in (
            {},  # left to a host, or fused
            naive(config.kind, config.energy, run.counters, config.clock_hz),
        )
    layers = sum(run.energy_pj for run in result.runs)
    assert summary["energy_pj"] == pytest.approx(layers, rel=1e-12)


def test_a_training_step_too():
    result = simulate("resnet9", "sat", phase="training", batch=2)
    summary, config = result.summary, result.config
    parts = naive("sat", config.energy, summary["counters"], config.clock_hz)
    assert summary["energy_parts_pj"] == parts
    assert parts["vector"] > 0  # the weight update's operations among them


def test_streams_and_masks_too():
    for preset, run_all in (("delta", conv_stream), ("dal", conv_stream), ("edgedrnn", recurrent)):
        config = load_config(preset)
        for run in run_all(config):
            assert run.energy_parts_pj == naive("delta", config.energy, run.counters, 0)
            assert min(run.energy_parts_pj[name] for name in ("mac", "weights", "state")) > 0
    result = simulate_masked("made up", [[masked_layer()]], load_config("scnn"))
    config = result.config
    parts = naive("mac_skip", config.energy, result.summary["counters"], 0)
    assert result.summary["energy_parts_pj"] == parts
    assert result.summary["energy_pj"] == sum(parts.values()) > 0


def test_on_chip_state_of_a_recurrent_layer():
    """Every event's column of sums is read and written, every item's reference read, an event's
    written, four sums a unit read and its state written."""
    config = load_config("edgedrnn")
    (run,) = recurrent(config)
    items, events, column = 20 * 40, run.nonzero_in, 3 * 16
    bits = 16 * (items + events) + 24 * 2 * events * column + 20 * 16 * (4 * 24 + 16)
    assert run.counters["delta.state_bits"] == bits
    assert run.counters["delta.weight_bytes"] == events * column


@pytest.mark.parametrize("preset", preset_names())
def test_a_block_from_the_table(preset):
    stated = load_config(preset)
    assert stated.energy.source == "preset"
    derived = load_config(preset, ["energy.source=table"])
    assert {k: getattr(derived.energy, k) for k in table(stated)} == table(stated)
    # a file that it writes gives it again, and so does any copy of it
    assert load_text(dump_config(derived)) == derived
    assert replace(derived, {"name": "other"}).energy == derived.energy
    # nothing but the energies differs
    assert derived.model_dump() | {"energy": 0} == stated.model_dump() | {"energy": 0}
    at_28 = table(stated, node_nm=28)
    for name, energy in table(stated).items():
        moves = name not in ("dram_pj", "static_w")
        assert at_28[name] == pytest.approx(scale(energy, 45, 28) if moves else energy)
    assert at_28 == {
        k: getattr(load_config(preset, [*TABLE, "energy.node_nm=28"]).energy, k) for k in at_28
    }


def load_text(text):
    from hwsim.config import _ADAPTER

    return _ADAPTER.validate_python(yaml.safe_load(text))


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 24), st.sampled_from(("input", "weight", "output")))
def test_a_buffer_s_size_moves_its_own_energy(log_bytes, which):
    base = load_config("sat", TABLE)
    swept = replace(base, {f"buffers.{which}_bytes": 1 << log_bytes})
    assert getattr(swept.energy, f"{which}_pj") == sram_pj(1 << log_bytes, 8)
    for other in {"input", "weight", "output"} - {which}:
        assert getattr(swept.energy, f"{other}_pj") == getattr(base.energy, f"{other}_pj")
    assert swept.energy.mac_pj == base.energy.mac_pj
    counters = {"buffer.input_read": 7, "buffer.weight_read": 7, "buffer.output_write": 7}
    grows = energy_parts(swept, counters)["buffer"] > energy_parts(base, counters)["buffer"]
    assert grows == (1 << log_bytes > base.buffers.input_bytes)


@given(st.dictionaries(st.sampled_from([*COUNTERS]), st.integers(0, 10**12)))
def test_a_price_for_each_buffer_to_the_last_bit(counters):
    config = load_config("sat", TABLE)
    e, n = config.energy, lambda name: counters.get(name, 0)
    whole = n("buffer.input_read") * e.input_pj + n("buffer.weight_read") * e.weight_pj
    whole += (n("dram.write") + n("buffer.output_write")) * e.output_pj
    whole += n("dram.read") * e.buffer_write_pj
    assert energy_parts(config, counters)["buffer"] == whole


def test_formats_and_widths_set_the_arithmetic():
    fp16, int8 = load_config("sat", TABLE), load_config("sat", [*TABLE, "format=int8"])
    assert fp16.energy.mac_pj == row("fp16_multiply").energy_pj + row("fp32_add").energy_pj == 2.0
    assert int8.energy.mac_pj == row("int8_multiply").energy_pj + row("int32_add").energy_pj
    wide = load_config("delta", [*TABLE, "weight_bits=16"])
    assert wide.energy.mac_pj > load_config("delta", TABLE).energy.mac_pj
    assert load_config("spgemm", [*TABLE, "format=int32"]).energy.multiply_pj == 3.1
    assert load_config("gamma", [*TABLE, "value_bytes=4"]).energy.multiply_pj == 3.7
    deep = load_config("gamma", [*TABLE, "merger_radix=8"]).energy
    assert deep.merge_pj == pytest.approx(3 * deep.compare_pj)


def test_dram_kinds():
    kinds = {kind: load_config("sat", [*TABLE, f"energy.dram_kind={kind}"]) for kind in
             ("ddr3", "ddr4", "lpddr4", "hbm2", "hbm3")}  # fmt: skip
    energies = [config.energy.dram_pj for config in kinds.values()]
    assert energies == sorted(energies, reverse=True)
    assert kinds["hbm2"].energy.dram_pj == 8 * row("hbm2").energy_pj
    assert load_config("gamma", TABLE).energy.dram_pj == 8 * row("hbm2").energy_pj


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["energy.node_nm=28"], "energy: node_nm must be null unless source is table"),
        ([*TABLE, "energy.mac_pj=3"], "energy.mac_pj: the table gives it with energy.source=table"),
        (
            [*TABLE, "energy.node_nm=5"],
            "energy.node_nm: input should be greater than or equal to 7",
        ),
        ([*TABLE, "energy.dram_kind=sram"], "energy.dram_kind: input should be 'ddr3'"),
        ([*TABLE, "buffers.input_bytes=67108865"], "known up to 67108864 bytes, but got 67108865"),
        (["energy.source=paper"], "energy.source: input should be 'preset' or 'table'"),
    ],
)
def test_bad_blocks_are_one_sentence(overrides, message):
    with pytest.raises(UserError) as error:
        load_config("sat", overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_process_outside_the_law():
    with pytest.raises(UserError, match="a process must lie between 7 and 180 nm, but got 5 nm"):
        table(load_config("sat"), node_nm=5)


def test_a_stated_energy_is_not_lost_silently():
    base = load_config("sat", TABLE)
    with pytest.raises(UserError, match=r"energy\.dram_pj: the table gives it"):
        replace(base, {"energy.dram_pj": 1.0})
    back = replace(base, {"energy.source": "preset", "energy.dram_pj": 1.0})
    assert back.energy.dram_pj == 1.0
