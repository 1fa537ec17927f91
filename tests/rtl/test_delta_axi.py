"""The delta top in RTL: its units with random stalls, whole programs over AXI, errors, resets."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.axi_delta_cases import AxiDesign, AxiWork, design_of, relatives
from hwsim.config import load_config
from hwsim.config_base import BusConfig
from hwsim.delta_random import Design, random_case
from hwsim.models.delta_jobs import DELTA_ERRORS, DeltaFormat, delta_records
from hwsim.models.shell_map import ERRORS
from hwsim.rtl.delta_axi_frames import FrameGate, FrameMarker
from hwsim.rtl.delta_axi_parts import WeightCutter, WeightFetch, WeightStore
from hwsim.verify_axi_delta import (
    axi_delta_build,
    bench_case,
    case_program,
    judge,
    run_axi_delta,
    run_works,
    verify_axi_delta,
)

_SMALL = {"lanes": 2, "sigma_words": 512, "reference_words": 256, "parameter_words": 16}
LAYER, GRU = (
    replace(design, shape=replace(design.shape, **_SMALL, **more))
    for design, more in zip(
        relatives(design_of(load_config("delta"))),
        ({"detector_width": 2, "address_bits": 10}, {"table_bits": 8}),
        strict=True,
    )
)
LIMIT = 60_000
PAUSES = dict.fromkeys(("ar", "r", "aw", "w", "b"), 0.25)


def work(design: AxiDesign, number: int, **memory) -> AxiWork:
    case = random_case(Design(design.shape, design.chain), 5, number)
    return AxiWork(name="random", case=case, memory={"latency": 0, "write_latency": 0, **memory})


# Units, in Amaranth's simulator


def run_unit(unit, phases, taken, seed, *, constants=None, cycles=900):
    """Words through a unit's streams with random stalls; what came out, by port.

    Args:
        phases: port -> words in, one phase after the other.
        taken: ports out.
        seed: of the stalls.
        constants: port -> value.
    """
    rng = np.random.default_rng(seed)
    out = {port: [] for port in taken}

    async def bench(ctx):
        for port, value in (constants or {}).items():
            ctx.set(getattr(unit, port), value)
        if hasattr(unit, "go"):
            ctx.set(unit.go, 1)
            await ctx.tick()
            ctx.set(unit.go, 0)
        for phase in phases:
            left = {port: list(words) for port, words in phase.items()}
            chance = {port: rng.choice([0.0, 0.5, 0.8]) for port in (*phase, *taken)}
            offered = dict.fromkeys(phase, False)
            rest = 40  # cycles behind the last word that goes in
            for _ in range(cycles):
                rest -= not any(left.values())
                if not rest:
                    break
                for port, words in left.items():
                    offered[port] = bool(words) and (offered[port] or rng.random() >= chance[port])
                    stream = getattr(unit, port)
                    ctx.set(stream.valid, int(offered[port]))
                    if offered[port]:
                        ctx.set(stream.payload, words[0])
                for port in taken:
                    ctx.set(getattr(unit, port).ready, int(rng.random() >= chance[port]))
                moved = [p for p in left if offered[p] and ctx.get(getattr(unit, p).ready)]
                for port, words in out.items():
                    stream = getattr(unit, port)
                    if ctx.get(stream.valid) and ctx.get(stream.ready):
                        words.append(ctx.get(stream.payload))
                await ctx.tick()
                for port in moved:
                    left[port].pop(0)
                    offered[port] = False
        if hasattr(unit, "done"):
            out["done"] = ctx.get(unit.done)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return out


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
@settings(max_examples=12, deadline=None)
def test_the_cutter_drops_what_stands_before_and_behind_a_segment(segments, stalls):
    rng = np.random.default_rng(stalls)
    words, runs, wanted = [], [], []
    for skip, beats in segments:
        inside = rng.integers(0, 1 << 13, beats).tolist()
        slots = rng.integers(0, 1 << 16, skip).tolist() + inside
        slots += rng.integers(0, 1 << 16, -len(slots) % 4).tolist()
        words += [
            sum(slot << 16 * i for i, slot in enumerate(slots[at : at + 4]))
            for at in range(0, len(slots), 4)
        ]
        runs.append({"skip": skip, "beats": beats})
        wanted += inside
    unit = WeightCutter(64, 13)
    out = run_unit(unit, [{"segment": runs, "i": words}], ["o"], stalls)
    assert out["o"] == wanted


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_the_cutter_refuses_words_of_one_beat():
    with pytest.raises(ValueError, match="must hold two words of weights or more"):
        WeightCutter(64, 33)
    gc.collect()  # Amaranth warns of the component when it is forgotten


def test_the_cutter_passes_a_word_a_cycle_across_segments():
    unit = WeightCutter(64, 16)
    seen = []

    async def bench(ctx):
        ctx.set(unit.segment.valid, 1)
        ctx.set(unit.segment.payload, {"skip": 3, "beats": 2})
        ctx.set(unit.i.valid, 1)
        ctx.set(unit.o.ready, 1)
        for _ in range(20):
            await ctx.tick()
            seen.append(ctx.get(unit.o.valid))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert all(seen)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=30), st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_the_store_answers_in_order_and_loses_nothing(numbers, stalls):
    shape = replace(LAYER.shape, address_bits=4, prefetch=40)  # all requests may be under way
    words = np.random.default_rng(stalls).integers(0, 1 << 16, 16).tolist()
    phases = [{"load": words}, {"request": numbers}]
    out = run_unit(WeightStore(shape), phases, ["w"], stalls)
    assert out["w"] == [words[n] for n in numbers]


def test_the_store_answers_in_the_next_cycle():
    unit = WeightStore(replace(LAYER.shape, address_bits=4))
    seen = []

    async def bench(ctx):
        ctx.set(unit.w.ready, 1)
        for cycle in range(6):
            ctx.set(unit.request.valid, cycle in (1, 2, 4))
            seen.append(ctx.get(unit.w.valid))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [0, 0, 1, 1, 0, 1]


@given(
    st.sampled_from([32, 64, 128, 256]),
    st.integers(1, 5),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
@settings(max_examples=12, deadline=None)
def test_a_segment_is_one_command_and_its_words_come_in_order(bus_bits, words, columns, stalls):
    form = DeltaFormat(replace(LAYER.shape, lanes=4), bus_bits)  # 32 bits a word of weights
    bus = BusConfig(data_bits=bus_bits)
    rng = np.random.default_rng(stalls)
    weights = rng.integers(-128, 128, (10 * words, form.shape.lanes))
    image, base, size = form.weights(weights), 0x4000, bus_bits // 8
    commands, data, wanted = [], [], []
    for column in columns:
        start, end = column * words * 4, (column + 1) * words * 4
        first, behind = start // size * size, -(-end // size) * size
        commands.append((base + first, end - first))
        data += [image[at : at + size].tobytes() for at in range(first, behind, size)]
        wanted += [image[at : at + 4].tobytes() for at in range(start, end, 4)]
    requests = [column * words + w for column in columns for w in range(words)]
    out = run_unit(
        WeightFetch(form, bus),
        [{"request": requests, "read_data": [int.from_bytes(w, "little") for w in data]}],
        ["read", "w"], stalls, constants={"base": base, "words": words},
    )  # fmt: skip
    assert [(one.address, one.bytes) for one in out["read"]] == commands
    assert out["w"] == [int.from_bytes(w, "little") for w in wanted]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_the_gate_passes_as_many_frames_as_were_told(beats, count, stalls):
    unit = FrameGate(16)
    words = np.random.default_rng(stalls).integers(0, 1 << 16, beats * (count + 1)).tolist()
    out = run_unit(unit, [{"i": words}], ["o"], stalls, constants={"beats": beats, "count": count})
    assert [one.data for one in out["o"]] == words[: beats * count]
    assert [one.last for one in out["o"]] == ([0] * (beats - 1) + [1]) * count


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_the_marker_closes_every_frame(beats, count, stalls):
    unit = FrameMarker(16)
    words = np.random.default_rng(stalls).integers(0, 1 << 16, beats * count).tolist()
    out = run_unit(unit, [{"i": words}], ["o"], stalls, constants={"beats": beats, "count": count})
    assert [one.data for one in out["o"]] == words
    assert [one.last for one in out["o"]] == ([0] * (beats - 1) + [1]) * count
    assert out["done"] == 1


# Whole programs over AXI, in Verilator


@pytest.fixture(scope="module")
def built():
    return {design: axi_delta_build(design) for design in (LAYER, GRU)}


@pytest.mark.parametrize("design", [LAYER, GRU], ids=["layer", "gru"])
def test_programs_run_exactly_and_the_law_foresees_their_cycles(built, design):
    given_ = [
        work(design, 1),
        work(design, 2, latency=37, write_latency=25, outstanding=8),
        work(design, 3, latency=(0, 40), write_latency=(0, 40), pauses=PAUSES, seed=3),
    ]
    layers = run_works(built[design], design, given_)
    for layer in layers:
        assert layer.what is None
        assert layer.values_equal
        assert layer.core_cycles == layer.model_core_cycles > 0
        assert layer.counters["delta.mac"] % design.shape.lanes == 0
        assert layer.counters["dram.read"] == layer.bytes_read
        assert layer.counters["dram.write"] == layer.bytes_written
        assert layer.ok
    assert [layer.model_cycles is None for layer in layers] == [False, False, True]
    assert max(abs(layer.error) for layer in layers[:2]) < 0.05


def test_the_counters_are_those_of_the_work(built):
    one = work(LAYER, 1)
    (layer,) = run_works(built[LAYER], LAYER, [one])
    (engine,) = one.case.works
    # the frames run twice
    macs = 2 * int(engine.beats[engine.reads].sum()) * LAYER.shape.lanes
    assert layer.counters["delta.mac"] == macs > 0
    assert layer.counters["delta.stall_weight"] == 0  # the memory on chip answers in time


def test_another_memory_model_agrees(built):
    """`cocotbext.axi.AxiRam`, with pauses on all channels."""
    one = work(GRU, 4)
    program = case_program(GRU, one.case, base=0x2000)
    case = bench_case(GRU, program, {"seed": 9}, limit=LIMIT, ram=True)
    (result,) = run_axi_delta(built[GRU], [case])
    layer = judge(GRU, replace(one, memory={"latency": (0, 0), "pauses": {}}), program, result)
    assert layer.ok, layer


def bad_case(design, number, name, values):
    """A program with a descriptor that is wrong; after the soft reset it is run again."""
    program = case_program(design, work(design, 1).case, base=0x2000)
    image = program.image.copy()
    put(image, program.list_address - program.base, number, name, **values)
    case = bench_case(design, replace(program, image=image), {"latency": 3}, limit=LIMIT)
    case["runs"].append(dict(case["runs"][0]))
    return case


def put(image, start, number, name, **values):
    """Overwrites fields of a descriptor."""
    layout = delta_records()[name][1]
    at = start + 64 * number
    fields = layout.unpack(image[at : at + 64].tobytes()) | values
    image[at : at + 64] = np.frombuffer(layout.pack(**fields), np.uint8)


BAD_LAYER = [
    (1, "weights", {"beats": (1 << 10) + 1}, DELTA_ERRORS["weight_memory"]),
    (1, "weights", {"engine": 7}, DELTA_ERRORS["engine"]),
]
BAD_GRU = [
    (0, "layer", {"engine": 1}, DELTA_ERRORS["engine"]),
    (0, "layer", {"beats": 3}, DELTA_ERRORS["beats"]),
    (0, "layer", {"record": 0x2004}, ERRORS["alignment"]),
    (0, "layer", {"opcode": 3, "beats": 1}, DELTA_ERRORS["no_layer"]),
    (1, "frames", {"count": 0}, ERRORS["value"]),
    (1, "frames", {"opcode": 9}, ERRORS["opcode"]),
    (1, "frames", {"opcode": 2, "count": 1}, DELTA_ERRORS["weight_memory"]),
]


@pytest.mark.parametrize("design, bad", [(LAYER, BAD_LAYER), (GRU, BAD_GRU)], ids=["layer", "gru"])
def test_a_bad_descriptor_stops_the_list_with_its_number(built, design, bad):
    cases = [bad_case(design, number, name, values) for number, name, values, _ in bad]
    results = run_axi_delta(built[design], cases)
    for (number, _, values, code), result in zip(bad, results, strict=True):
        for run in result["runs"]:
            registers = run["registers"]
            assert registers["status"] == 0b1000, values
            assert registers["error"] & 0xFF == code, values
            assert registers["error_index"] == registers["completed"] == number, values


def test_a_bus_error_is_reported_with_its_address_and_the_next_run_is_right(built):
    one = work(GRU, 1)
    program = case_program(GRU, one.case, base=0x2000)
    layout = delta_records()["layer"][1]
    start = program.list_address - program.base
    layer = layout.unpack(program.image[start : start + 64].tobytes())
    cases = []
    for at, kind in ((layer["weights"], "read"), (program.results[0][0], "write")):
        errors = [(at, at + 8, 2, kind)]
        cases.append(bench_case(GRU, program, {"latency": 5, "errors": errors}, limit=LIMIT))
    for case, result in zip(cases, run_axi_delta(built[GRU], cases), strict=True):
        ((at, _, _, kind),) = case["memory"]["errors"]
        registers = result["runs"][0]["registers"]
        assert registers["status"] == 0b1000
        assert registers["error"] == ERRORS[f"{kind}_bus"] | 2 << 8
        assert registers["error_address_lo"] == at


@pytest.mark.parametrize("design", [LAYER, GRU], ids=["layer", "gru"])
def test_a_soft_reset_in_the_midst_leaves_no_trace(built, design):
    one = work(design, 2, latency=11, write_latency=7)
    program = case_program(design, one.case, base=0x2000)
    cases = []
    for break_at in (20, 140, 400):
        case = bench_case(design, program, one.memory, limit=LIMIT)
        case["runs"] = [case["runs"][0] | {"break_at": break_at}, case["runs"][0]]
        cases.append(case)
    results = run_axi_delta(built[design], cases)
    fresh = run_works(built[design], design, [one])[0]
    for result in results:
        result["runs"] = result["runs"][1:]
        layer = judge(design, one, program, result)
        assert layer.ok, layer
        assert abs(layer.rtl_cycles - fresh.rtl_cycles) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["delta", "edgedrnn"])
def test_trained_layers_run_exactly_and_within_five_per_cent(preset):
    report = verify_axi_delta(load_config(preset), cases=8, seed=1)
    assert report.ok, report.failures
    assert report.mean_error < 0.05


@pytest.mark.slow
def test_frames_come_and_go_by_streams():
    design = replace(LAYER, bus=LAYER.bus.model_copy(update={"data": "stream"}))
    made = axi_delta_build(design)
    one = work(design, 2)
    program = case_program(design, one.case, base=0x2000)
    form, beats = design.form, program.results[0][3]
    every = [frames_of(program, n) for n in range(program.count)]
    frames = np.concatenate([part for part in every if len(part)])
    case = bench_case(
        design, program, {"latency": 4}, limit=LIMIT, frames=[f.tobytes() for f in frames], pauses=7
    )
    (result,) = run_axi_delta(made, [case])
    raw = np.stack([np.frombuffer(one, np.uint8) for one in result["results"]])
    got = form.results(raw, beats).reshape(-1, design.shape.lanes)
    wanted = program.outputs(run_image(LAYER, one, program))
    assert (got == np.concatenate([w.reshape(-1, design.shape.lanes) for w in wanted])).all()


def run_image(design, one, program):
    """The image after a run of the same program with data in memory."""
    (result,) = run_axi_delta(
        axi_delta_build(design), [bench_case(design, program, one.memory, limit=LIMIT)]
    )
    return np.frombuffer(result["image"], np.uint8)


def frames_of(program, number):
    """Bytes of the frames of a FRAMES descriptor, without what fills up the last bus word."""
    layouts = {code: (name, layout) for name, (code, layout) in delta_records().items()}
    start = program.list_address - program.base + 64 * number
    raw = program.image[start : start + 64].tobytes()
    name, layout = layouts[raw[2]]
    if name != "frames":
        return np.zeros((0, 0), np.uint8)
    fields = layout.unpack(raw)
    at = fields["x"] - program.base
    size = fields["x_stride"]
    part = program.image[at : at + fields["count"] * size]
    return part.reshape(fields["count"], size)
