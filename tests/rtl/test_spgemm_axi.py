"""The SpGEMM top: lint, ports, whole products from descriptors in memory, errors, soft reset."""

from __future__ import annotations

from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest

import hwsim.rtl
from hwsim import verify_axi_spgemm as verification
from hwsim.config import load_config
from hwsim.config_base import BusConfig
from hwsim.models.shell_map import ERRORS, shell_map
from hwsim.models.spgemm import multiplies
from hwsim.models.spgemm_jobs import (
    RECORD_BYTES,
    SPGEMM_ERRORS,
    SpgemmFormat,
    spgemm_program,
    spgemm_records,
    spgemm_spec,
)
from hwsim.rtl.blocks import parts_verilog
from hwsim.rtl.simulator import lint
from hwsim.rtl.spgemm_axi import probe_names, spgemm_axi_members, spgemm_axi_parts
from hwsim.spgemm_axi_cases import axi_designs, make_axi_case
from hwsim.spgemm_cases import SpgemmCase, expected_words
from hwsim.verify_axi import verify_axi
from hwsim.verify_axi_spgemm import axi_build, observed, register_steps, run_axi_cases, run_bench

WAIVERS = Path(hwsim.rtl.__file__).with_name("lint.vlt")
TINY = [
    "lanes=2", "banks=2", "entries=16", "outputs=1", "format=int32", "token_queue=8",
    "token_length=4", "probe_limit=4", "row_bits=4", "column_bits=10", "epoch_bits=2",
]  # fmt: skip
GROUP = pytest.mark.xdist_group("rtl-spgemm-axi")
SPEC = spgemm_spec()
REGISTERS = shell_map(SPEC, 64)


@pytest.fixture(scope="module")
def tiny():
    config = load_config("spgemm", TINY)
    return config, axi_build(config)


def case_of(config, number, **fields):
    return changed(make_axi_case([config], 7, number), **fields)


@pytest.mark.parametrize(
    "bus",
    [BusConfig(data_bits=32, data="stream"), pytest.param(BusConfig(), marks=pytest.mark.slow)],
    ids=["32 bits, streams", "64 bits, memory"],
)
def test_lint_is_clean_with_the_waivers(bus):
    text, top = parts_verilog(spgemm_axi_parts(load_config("spgemm", TINY).shape, bus))
    assert top == "spgemm_axi"
    assert lint(text, top, WAIVERS) == ""


def test_ports_have_standard_names():
    shape = load_config("spgemm", TINY).shape
    memory = spgemm_axi_members(shape, BusConfig(data_bits=128), SPEC)
    assert memory["m_axi_rdata"].shape == 128
    assert {"s_axil_awaddr", "m_axi_awlen", "irq"} <= set(memory)
    assert not any(name.startswith("m_axis") or name == "probe" for name in memory)
    streams = spgemm_axi_members(shape, BusConfig(data="stream"), SPEC)
    assert streams["m_axis_z0_tdata"].shape == 48  # 4 + 10 + 32 + 1 bits, whole bytes
    assert {"m_axis_spill_tlast", "m_axis_counts_tready"} <= set(streams)


@GROUP
def test_products_run_from_memory_and_equal_the_golden_product(tiny):
    """Karate squared with a steady memory; random products, pauses and latencies; cocotbext-axi."""
    config, made = tiny
    cases = [
        case_of(config, 0),
        case_of(config, 2),
        case_of(config, 3, slave="pipelined"),
        case_of(config, 7, slave="cocotbext"),
    ]
    layers = run_axi_cases(made, config, cases)
    flat = [layer for one in layers.values() for layer in one]
    assert [layer.what for layer in flat] == [None] * len(flat)
    assert all(layer.ok for layer in flat)
    (club,) = layers[cases[0].number][:1]
    assert club.counters["spgemm.multiply"] == 1212 == multiplies(cases[0].a, cases[0].b)
    assert len(layers[cases[1].number]) > 1, "no product was spilled"
    for layer in flat:
        if layer.model_cycles is not None:
            assert layer.error == pytest.approx(0, abs=0.05), layer
    assert layers[cases[3].number][0].memory.startswith("one burst at a time")


@GROUP
def test_a_wrong_word_in_memory_and_a_wrong_cycle_are_found(tiny):
    """The bench is made to answer wrongly: a value of C, a counter, a handshake a cycle early."""
    config, made = tiny
    case = case_of(config, 0)
    (got,) = whole_run(config, made, case)
    job = verification._job(config, one_pass(case))
    program = spgemm_program(SpgemmFormat(config.shape, 64), [job], align=512)

    def what(answer):
        layer, _ = verification._judge(config, one_pass(case), job, program, answer)
        return layer.what

    assert what(got) is None
    image = bytearray(got["image"])
    image[program.places[0].z + 2] ^= 1  # value of the first entry
    assert "in memory are not the simulator's" in what(got | {"image": bytes(image)})
    answers = list(got["answers"])
    at = 10 + 2 * list(SPEC.all_counters).index("spgemm.hash.probe")
    answers[at] = (0, answers[at][1] + 1)
    assert what(got | {"answers": answers}).startswith("counter spgemm.hash.probe is")
    z = probe_names(config.shape).index("z0")
    taken = 0b11 << 1 + 2 * z
    trace = list(got["trace"])
    last = max(i for i, word in enumerate(trace) if word & taken == taken)
    trace[last], trace[last - 1] = trace[last] & ~taken, trace[last - 1] | taken
    assert "words on z0 passed in other cycles" in what(got | {"trace": trace})


@GROUP
def test_errors_stop_the_list_and_a_right_one_runs_after_soft_reset(tiny):
    config, made = tiny
    job = verification._job(config, one_pass(case_of(config, 2)))
    form = SpgemmFormat(config.shape, 64)
    program = spgemm_program(form, [job], align=512)
    image = program.image.tobytes()
    layout = spgemm_records()["multiply"][1]
    right = layout.unpack(image[program.list_address :][:RECORD_BYTES])
    end = len(image)
    odd = np.array([0, 0, 5, 3], "<u4").tobytes().ljust(512, b"\0")  # no rows; a pointer falls
    guard = end + len(odd)  # behind regions that are too small
    image += odd + b"\xa5" * 1024
    wrong = {
        "window": {"window_table": end},
        "pointers": {"a_pointers": end},
        "column": {"b_rows": 1},
        "z_room": {"z_stride": 16, "z": guard},
        "spill_room": {"spill_bytes": 16, "spill": guard + 512},
        "alignment": {"z": right["z"] + 4},
        "read_bus": {"a_elements": 1 << 30},
        "write_bus": {"counts": 1 << 30},
    }
    steps = []
    for name, fields in wrong.items():
        # the second of a list, so that its index is told
        steps += run_steps(len(image), 2 if name != "write_bus" else 1)
        image += image[program.list_address :][:RECORD_BYTES] if name != "write_bus" else b""
        image += layout.pack(**(right | fields))
    steps += run_steps(program.list_address, 1)
    (got,) = run_bench(made, [bench_of(image.ljust(len(image) + 512, b"\0"), steps)])
    answers = iter(got["answers"])
    codes = {**ERRORS, **SPGEMM_ERRORS}
    for name in [*wrong, "none"]:
        waited, status, error, index, completed = outcome(answers)
        assert waited is not None, name
        assert error & 0xFF == codes[name], name
        assert status & 0b1101 == (0b0101 if name == "none" else 0b1000), name  # idle, done, error
        assert completed == (0 if name == "write_bus" else 1), name
        if name in SPGEMM_ERRORS or name == "alignment":
            assert index == 1, name
    result = program.results(np.frombuffer(got["image"], np.uint8)[:end])[0]
    seen = observed(config, got["trace"])[-1]
    run = verification.simulate(
        config.shape, job.a, job.b, job.starts, gaps=seen.gaps, stride=seen.stride
    )
    kept = result.column >= 0
    assert np.array_equal(result.row, run.row) and np.array_equal(result.column, run.column)
    assert np.array_equal(result.value[kept], run.value[kept])
    assert result.spilled == run.spilled > 0
    assert got["image"][guard + 16 : guard + 512] == b"\xa5" * 496
    assert got["image"][guard + 528 : guard + 1024] == b"\xa5" * 496


@GROUP
def test_a_descriptor_does_not_depend_on_those_before_it(tiny):
    """The same product twice in a list, after another one: the same cycles from steady memory."""
    config, made = tiny
    jobs = [verification._job(config, one_pass(case_of(config, number))) for number in (2, 0, 0)]
    program = spgemm_program(SpgemmFormat(config.shape, 64), jobs, base=0, align=512)
    steps = register_steps(64, program, 200_000)
    (got,) = run_bench(made, [bench_of(program.image.tobytes(), steps, latency=9)])
    first, second, third = observed(config, got["trace"])
    results = program.results(np.frombuffer(got["image"], np.uint8))
    for job, seen, result in zip(jobs, (first, second, third), results, strict=True):
        run = verification.simulate(
            config.shape, job.a, job.b, job.starts, gaps=seen.gaps, stride=seen.stride
        )
        assert np.array_equal(run.counts, result.counts)
        assert np.array_equal(run.value[run.column >= 0], result.value[result.column >= 0])
    assert np.array_equal(results[1].counts, results[2].counts)
    assert all(np.array_equal(second.passes[name], third.passes[name]) for name in second.passes)


@pytest.mark.slow
@GROUP
def test_results_leave_on_streams():
    """The same words as on the core's ports, TLAST on the last of the descriptor."""
    config = load_config("spgemm", [*TINY, "bus={data_bits: 32, data: stream}"])
    case = case_of(config, 2, latency=(0, 30), pauses={"ar": 0.3, "r": 0.3})
    job = verification._job(config, one_pass(case))
    (got,) = whole_run(config, axi_build(config), case)
    (seen,) = observed(config, got["trace"])
    run = verification.simulate(
        config.shape, job.a, job.b, job.starts, gaps=seen.gaps, stride=seen.stride
    )
    plain = SpgemmCase(
        number=0, design=0, kind="", a=job.a, b=job.b, starts=job.starts, gaps=seen.gaps,
        latency=verification.MemoryLatency(), exact=True,
    )  # fmt: skip
    words, _ = expected_words(config.shape, plain, run)
    closing = 1 << config.row_bits + config.column_bits + 32
    expected = {"z0": words["z0"], "spill": [*words["spill"], closing], "counts": words["done"]}
    assert run.spilled > 0
    for name, records in expected.items():
        lasts = [0] * (len(records) - 1) + [1]
        assert got["streams"][name] == list(zip(records, lasts, strict=True)), name


@pytest.mark.slow
@GROUP
def test_the_report_of_both_designs():
    report = verify_axi(load_config("spgemm"), cases=8, seed=1)
    assert report.ok, report.failures
    assert report.mean_error is not None and report.mean_error < 0.05
    assert len(axi_designs(load_config("spgemm"))) == 2


def one_pass(case):
    return verification._Pass(case=case, a=case.a, b=case.b, rows=np.arange(case.a.shape[0]))


def whole_run(config, made, case):
    one = one_pass(case)
    form = SpgemmFormat(config.shape, config.bus.data_bits)
    program = spgemm_program(form, [verification._job(config, one)], align=512)
    return run_bench(made, [verification._bench_case(config, one, program)])


def bench_of(image, steps, latency=7):
    memory = {"image": image, "latency": latency, "write_latency": 5, "outstanding": 8}
    return {"slave": "pipelined", "memory": memory, "pauses": 0.0, "steps": steps}


def run_steps(address, count):
    """Runs a list to its end or error, reads what `outcome` wants, and resets."""

    def write(name, value):
        return "write", REGISTERS[name].offset, value

    reads = ("status", "error", "error_index", "completed")
    return [
        write("irq_enable", 0b011),
        write("list_address_lo", address),
        write("list_count", count),
        write("control", 1),
        ("irq", 100_000),
        *(("read", REGISTERS[name].offset) for name in reads),
        write("control", 2),
        write("irq_status", 0b111),
        ("wait", 200),
    ]


def outcome(answers):
    """Cycles to the interrupt, status, error, index, completed."""
    taken = [next(answers) for _ in range(12)]
    return taken[4], *(value for _, value in taken[5:9])
