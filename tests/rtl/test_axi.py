"""Read and write engines and width converters against laws, random stalls, errors and stops."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from axi_designs import (
    BUS,
    WIDTHS,
    command,
    read_case,
    read_design,
    run_bench,
    width_cases,
    width_design,
    words_of,
    write_case,
    write_design,
)
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config_base import BusConfig
from hwsim.models.axi_law import BOUNDARY_BYTES, block_bytes, bursts, read_period, read_rate
from hwsim.models.bus_words import beats_per_word, words_per_beat
from hwsim.rtl.axi import queue_sizes

BENCH = "bench_axi"
PAUSES = dict.fromkeys(("ar", "r", "aw", "w", "b"), 0.3)
IMAGE = bytes(random.Random(5).randrange(256) for _ in range(16384))
OTHERS = [
    BusConfig(data_bits=32, burst_beats=1, outstanding_reads=1),
    BusConfig(data_bits=32, burst_beats=256, outstanding_reads=3, address_bits=32),
    BusConfig(data_bits=128, burst_beats=16, outstanding_reads=8, address_bits=64),
    BusConfig(data_bits=512, burst_beats=256, outstanding_reads=2),
]
OTHER_IDS = [f"{bus.data_bits}x{bus.burst_beats}" for bus in OTHERS]


def _gaps(rng: random.Random) -> list[int]:
    return [rng.choice([0, 0, 0, 1, 2, 7]) for _ in range(13)]


def _reads(rng: random.Random, bus: BusConfig, count: int) -> list[tuple[int, int]]:
    """Transfers anywhere, many of them across 4 KB."""
    word = bus.data_bits // 8
    found = []
    for _ in range(count):
        size = rng.choice([0, 1, word, rng.randrange(600)])
        near = rng.choice([4096, 8192, 12288]) - rng.randrange(min(size + 64, 512))
        address = rng.choice([near, rng.randrange(len(IMAGE) - 700)]) // word * word
        found.append((address, size))
    return found


def _writes(rng: random.Random, bus: BusConfig, count: int) -> list[tuple[int, bytes]]:
    word = bus.data_bits // 8
    spots = rng.sample(range(0, len(IMAGE) - 1024, 700), count)
    return [
        (-(-spot // word) * word, rng.randbytes(rng.choice([0, 1, word, rng.randrange(600)])))
        for spot in spots
    ]


def _check_reads(bus: BusConfig, seeds: range, count: int = 12) -> None:
    cases, wanted, asked = [], [], []
    for seed in seeds:
        rng = random.Random(seed)
        transfers = [_reads(rng, bus, count) for _ in range(2)]
        calm = {} if seed % 3 == 0 else {"pauses": PAUSES, "latency": (0, 15)}
        gaps = [0] if seed % 3 == 0 else _gaps(rng)
        case, words = read_case(bus, IMAGE, transfers, gaps, seed=seed, **calm)
        cases.append(case)
        wanted.append(words)
        asked.append(transfers)
    for found, words, transfers in zip(
        run_bench(read_design(bus), BENCH, cases), wanted, asked, strict=True
    ):
        phase = found["phases"][0]
        assert phase["ended"]
        assert phase["idle"]
        assert not phase["error"]
        assert [phase["sinks"][f"data__{i}"]["words"] for i in range(2)] == words
        laws = [
            one
            for mine in transfers
            for address, size in mine
            for one in bursts(address, size, data_bits=bus.data_bits, burst_beats=bus.burst_beats)
        ]
        assert sorted((address, beats) for _, address, beats in found["reads"]) == sorted(laws)
        assert found["read_bytes"] == sum(map(len, words)) * bus.data_bits // 8


def _check_writes(bus: BusConfig, seeds: range) -> None:
    cases, wanted, asked = [], [], []
    for seed in seeds:
        rng = random.Random(seed)
        both = _writes(rng, bus, 16)
        transfers = [both[:8], both[8:]]
        calm = {} if seed % 3 == 0 else {"pauses": PAUSES, "write_latency": (0, 15)}
        gaps = [0] if seed % 3 == 0 else _gaps(rng)
        case, image = write_case(bus, IMAGE, transfers, gaps, seed=seed, **calm)
        cases.append(case)
        wanted.append(image)
        asked.append(transfers)
    for found, image, transfers in zip(
        run_bench(write_design(bus), BENCH, cases), wanted, asked, strict=True
    ):
        phase = found["phases"][0]
        assert phase["ended"]
        assert phase["idle"]
        assert not phase["error"]
        assert found["image"] == image
        kept = [[len(data) for _, data in mine if data] for mine in transfers]
        assert [len(found["done"][f"done__{i}"]) for i in range(2)] == [len(k) for k in kept]
        assert found["write_bytes"] == sum(map(sum, kept))
        laws = [
            one
            for mine in transfers
            for address, data in mine
            for one in bursts(
                address, len(data), data_bits=bus.data_bits, burst_beats=bus.burst_beats
            )
        ]
        assert sorted((address, beats) for _, address, beats in found["writes"]) == sorted(laws)


@given(
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.sampled_from([32, 64, 128, 512]),
    st.sampled_from([1, 4, 16, 256]),
)
def test_bursts_cover_a_transfer_and_never_cross_4_kb(address, size, data_bits, burst_beats):
    word = data_bits // 8
    found = bursts(address, size, data_bits=data_bits, burst_beats=burst_beats)
    here = address // word * word
    for start, beats in found:
        assert start == here
        assert 1 <= beats <= min(burst_beats, 256)
        here += beats * word
        assert start // BOUNDARY_BYTES == (here - 1) // BOUNDARY_BYTES
        assert start // block_bytes(data_bits, burst_beats) == (here - 1) // block_bytes(
            data_bits, burst_beats
        )
    assert here == address // word * word + -(-size // word) * word


def test_reads_with_stalls_bring_every_word_to_its_client():
    _check_reads(BUS, range(6))


def test_writes_with_stalls_reach_memory_and_are_acknowledged():
    _check_writes(BUS, range(6))


@pytest.mark.slow
@pytest.mark.parametrize("bus", OTHERS, ids=OTHER_IDS)
def test_reads_on_other_buses(bus):
    _check_reads(bus, range(20))


@pytest.mark.slow
@pytest.mark.parametrize("bus", OTHERS, ids=OTHER_IDS)
def test_writes_on_other_buses(bus):
    _check_writes(bus, range(20))


@pytest.mark.slow
def test_many_reads_and_writes():
    _check_reads(BUS, range(100, 200))
    _check_writes(BUS, range(100, 200))


def test_a_memory_without_latency_gives_a_word_a_cycle():
    case, _ = read_case(BUS, IMAGE, [[(0, 8192)], []], [0])
    apart, _ = read_case(BUS, IMAGE, [[(8 * i, 8) for i in range(64)], []], [0])
    (found, single) = run_bench(read_design(), BENCH, [case, apart])
    cycles = found["phases"][0]["sinks"]["data__0"]["cycles"]
    assert [later - here for here, later in pairwise(cycles)] == [1] * 1023
    assert read_rate(0, burst_words=8, outstanding=4) == 1
    # bursts of one word each: the latency of the loop counts, not the engine's rate
    cycles = single["phases"][0]["sinks"]["data__0"]["cycles"]
    assert cycles[-1] - cycles[0] <= 63 * 3


def test_the_rate_with_latency_follows_the_law():
    latencies = [0, 10, 18, 19, 40, 100]
    cases = [read_case(BUS, IMAGE, [[(0, 4096)], []], [0], latency=n)[0] for n in latencies]
    for latency, found in zip(latencies, run_bench(read_design(), BENCH, cases), strict=True):
        period, words = read_period(latency, burst_words=8, outstanding=4)
        cycles = found["phases"][0]["sinks"]["data__0"]["cycles"]
        # the second period on: the first begins with empty queues
        steps = {cycles[i + words] - cycles[i] for i in range(words, len(cycles) - words)}
        assert steps == {period}, latency


def test_a_write_goes_out_a_word_a_cycle():
    case, _ = write_case(BUS, IMAGE, [[(0, bytes(4096))], []], [0])
    (found,) = run_bench(write_design(), BENCH, [case])
    assert found["phases"][0]["cycles"] <= 512 + 40


def test_a_client_that_does_not_take_its_words_blocks_nobody():
    case, wanted = read_case(BUS, IMAGE, [[(0, 4096)], [(4096, 2048)]], [0])
    case["phases"][0]["sinks"]["data__0"] = (512, [600])  # a word every 600 cycles
    case["phases"][0]["limit"] = 1500
    (found,) = run_bench(read_design(), BENCH, [case])
    sinks = found["phases"][0]["sinks"]
    assert len(sinks["data__0"]["words"]) <= 3
    assert sinks["data__1"]["words"] == wanted[1]
    assert sinks["data__1"]["cycles"][-1] < 400


@pytest.mark.parametrize("response", [2, 3])
def test_a_bad_read_is_reported_with_its_address(response):
    transfers = [[(64, 256), (1024, 512)], [(4096, 512)]]
    bad = 1024 + 27 * 8
    case, wanted = read_case(
        BUS, IMAGE, transfers, [0], errors=[(bad, bad + 8, response), (1024 + 400, 1500, 2)]
    )
    (found,) = run_bench(read_design(), BENCH, [case])
    phase = found["phases"][0]
    assert phase["ended"]
    assert (phase["error"], phase["error_address"], phase["error_response"]) == (1, bad, response)
    assert [phase["sinks"][f"data__{i}"]["words"] for i in range(2)] == wanted


def test_a_bad_write_is_reported_with_its_burst():
    transfers = [[(64, bytes(256)), (1024, bytes(512))], [(4096, bytes(512))]]
    case, _ = write_case(BUS, IMAGE, transfers, [0], errors=[(1024 + 216, 1024 + 217, 3, "write")])
    (found,) = run_bench(write_design(), BENCH, [case])
    phase = found["phases"][0]
    assert (phase["error"], phase["error_address"], phase["error_response"]) == (1, 1024 + 192, 3)
    assert [len(cycles) for cycles in found["done"].values()] == [2, 1]


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_stop_in_traffic_then_a_right_run(kind):
    cases, wanted = [], []
    for seed in range(8):
        rng = random.Random(seed)
        calm = {"pauses": PAUSES, "latency": (0, 30), "write_latency": (0, 30), "seed": seed}
        if kind == "read":
            first, _ = read_case(
                BUS, IMAGE, [_reads(rng, BUS, 9) for _ in range(2)], _gaps(rng), **calm
            )
            second, words = read_case(
                BUS, IMAGE, [_reads(rng, BUS, 9) for _ in range(2)], _gaps(rng)
            )
            wanted.append(words)
        else:
            both = _writes(rng, BUS, 20)
            first, _ = write_case(BUS, IMAGE, [both[:5], both[5:10]], _gaps(rng), **calm)
            second, image = write_case(BUS, IMAGE, [both[10:15], both[15:]], _gaps(rng))
            wanted.append(image)
        first["phases"][0]["stop"] = rng.randrange(1, 120)
        first["phases"].append(second["phases"][0])
        cases.append(first)
    made = read_design() if kind == "read" else write_design()
    for found, right in zip(run_bench(made, BENCH, cases), wanted, strict=True):
        broken, whole = found["phases"]
        assert broken["idle"]  # the memory had answered everything: it asserts the protocol
        assert whole["ended"]
        if kind == "read":
            assert [whole["sinks"][f"data__{i}"]["words"] for i in range(2)] == right
        else:
            rng_writes = _second_half(right, found["image"])
            assert rng_writes


def _second_half(right: bytes, image: bytes) -> bool:
    """What the run after the stop wrote is there."""
    return all(b == a for a, b, c in zip(right, image, IMAGE, strict=True) if a != c)


def test_words_may_come_before_their_command():
    data = bytes(range(128))
    case, image = write_case(BUS, IMAGE, [[(256, data)], []], [0])
    sources = case["phases"][0]["sources"]
    sources["command__0"] = ([command(BUS, 256, 128)], [60])
    sources["data__0"] = (words_of(BUS, data), [0])
    (found,) = run_bench(write_design(), BENCH, [case])
    assert found["image"] == image
    assert found["writes"][0][0] > 60


def test_width_converters_follow_the_rule_of_bus_words():
    cases, wanted = [], []
    for seed in range(12):
        rng = random.Random(seed)
        runs = {
            name: [
                [rng.randrange(2**beat) for _ in range(rng.randrange(1, 14))]
                for _ in range(rng.randrange(1, 6))
            ]
            for name, (beat, _) in WIDTHS.items()
        }
        case, words = width_cases(runs, [0] if seed % 4 == 0 else _gaps(rng))
        cases.append(case)
        wanted.append(words)
    for found, words in zip(run_bench(width_design(), "bench_stream", cases), wanted, strict=True):
        assert {name: one["words"] for name, one in found.items()} == words
        assert not any(one["extra"] for one in found.values())


def test_width_converters_lose_no_cycle():
    runs = {
        name: [[i % 2**beat for i in range(60)] for _ in range(4)]
        for name, (beat, _) in WIDTHS.items()
    }
    case, _ = width_cases(runs, [0])
    (found,) = run_bench(width_design(), "bench_stream", [case])
    for name, (beat, bus) in WIDTHS.items():
        cut, packed = found[f"{name}_cut"]["cycles"], found[f"{name}_packed"]["cycles"]
        apart = words_per_beat(beat, bus)
        assert {b - a for a, b in pairwise(cut)} == {apart}
        per_word = beats_per_word(beat, bus)
        if per_word <= 1:
            assert {b - a for a, b in pairwise(packed)} == {1}
        else:
            assert packed[-1] - packed[0] <= 240


def test_queues_that_hold_no_burst_are_refused():
    with pytest.raises(ValueError, match="queue_words must be 2 numbers >= 8, but got 7"):
        queue_sizes(BUS, 2, 7)
    with pytest.raises(ValueError, match=r"queue_words must be 2 numbers >= 8, but got \[8\]"):
        queue_sizes(BUS, 2, [8])
    with pytest.raises(ValueError, match="clients >= 1 must hold, but got 0"):
        queue_sizes(BUS, 0, 8)
