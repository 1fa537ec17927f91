"""Read and write engines and width converters against laws, random stalls, errors and stops."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from axi_designs import (
    BUS,
    WIDTHS,
    Batch,
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


def _random_reads(bus: BusConfig, seeds: range) -> list[tuple[Any, ...]]:
    """(case, words for each client, transfers), every third without stalls."""
    made = []
    for seed in seeds:
        rng = random.Random(seed)
        transfers = [_reads(rng, bus, 12) for _ in range(2)]
        calm = {} if seed % 3 == 0 else {"pauses": PAUSES, "latency": (0, 15)}
        gaps = [0] if seed % 3 == 0 else _gaps(rng)
        case, words = read_case(bus, IMAGE, transfers, gaps, seed=seed, **calm)
        made.append((case, words, transfers))
    return made


def _check_reads(bus: BusConfig, made: list[tuple[Any, ...]], results: list[Any]) -> None:
    for (_, words, transfers), found in zip(made, results, strict=True):
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


def _random_writes(bus: BusConfig, seeds: range) -> list[tuple[Any, ...]]:
    """(case, the memory's bytes behind it, transfers), every third without stalls."""
    made = []
    for seed in seeds:
        rng = random.Random(seed)
        both = _writes(rng, bus, 16)
        transfers = [both[:8], both[8:]]
        calm = {} if seed % 3 == 0 else {"pauses": PAUSES, "write_latency": (0, 15)}
        gaps = [0] if seed % 3 == 0 else _gaps(rng)
        case, image = write_case(bus, IMAGE, transfers, gaps, seed=seed, **calm)
        made.append((case, image, transfers))
    return made


def _check_writes(bus: BusConfig, made: list[tuple[Any, ...]], results: list[Any]) -> None:
    for (_, image, transfers), found in zip(made, results, strict=True):
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


READS = Batch(read_design, BENCH)
WRITES = Batch(write_design, BENCH)
CONVERTERS = Batch(width_design, "bench_stream")

RANDOM_READS = _random_reads(BUS, range(6))
READ_KEYS = [READS.add(case) for case, *_ in RANDOM_READS]


def test_reads_with_stalls_bring_every_word_to_its_client():
    _check_reads(BUS, RANDOM_READS, [READS[key] for key in READ_KEYS])


RANDOM_WRITES = _random_writes(BUS, range(6))
WRITE_KEYS = [WRITES.add(case) for case, *_ in RANDOM_WRITES]


def test_writes_with_stalls_reach_memory_and_are_acknowledged():
    _check_writes(BUS, RANDOM_WRITES, [WRITES[key] for key in WRITE_KEYS])


@pytest.mark.slow
@pytest.mark.parametrize("bus", OTHERS, ids=OTHER_IDS)
def test_reads_on_other_buses(bus):
    made = _random_reads(bus, range(20))
    _check_reads(bus, made, run_bench(read_design(bus), BENCH, [case for case, *_ in made]))


@pytest.mark.slow
@pytest.mark.parametrize("bus", OTHERS, ids=OTHER_IDS)
def test_writes_on_other_buses(bus):
    made = _random_writes(bus, range(20))
    _check_writes(bus, made, run_bench(write_design(bus), BENCH, [case for case, *_ in made]))


@pytest.mark.slow
def test_many_reads_and_writes():
    reads, writes = _random_reads(BUS, range(100, 200)), _random_writes(BUS, range(100, 200))
    _check_reads(BUS, reads, run_bench(read_design(), BENCH, [case for case, *_ in reads]))
    _check_writes(BUS, writes, run_bench(write_design(), BENCH, [case for case, *_ in writes]))


LONG = READS.add(read_case(BUS, IMAGE, [[(0, 8192)], []], [0])[0])
SINGLE = READS.add(read_case(BUS, IMAGE, [[(8 * i, 8) for i in range(64)], []], [0])[0])


def test_a_memory_without_latency_gives_a_word_a_cycle():
    cycles = READS[LONG]["phases"][0]["sinks"]["data__0"]["cycles"]
    assert [later - here for here, later in pairwise(cycles)] == [1] * 1023
    assert read_rate(0, burst_words=8, outstanding=4) == 1
    # bursts of one word: four are under way, so the loop of one counts
    period, words = read_period(0, burst_words=1, outstanding=4)
    cycles = READS[SINGLE]["phases"][0]["sinks"]["data__0"]["cycles"]
    assert cycles[-1] - cycles[0] <= 64 * period / words


LATENCIES = {
    latency: READS.add(read_case(BUS, IMAGE, [[(0, 4096)], []], [0], latency=latency)[0])
    for latency in (0, 10, 16, 17, 40, 100)
}


@pytest.mark.parametrize("latency", LATENCIES)
def test_the_rate_with_latency_follows_the_law(latency):
    period, words = read_period(latency, burst_words=8, outstanding=4)
    cycles = READS[LATENCIES[latency]]["phases"][0]["sinks"]["data__0"]["cycles"]
    # the second period on: the first begins with empty queues
    assert {cycles[i + words] - cycles[i] for i in range(words, len(cycles) - words)} == {period}


FULL = WRITES.add(write_case(BUS, IMAGE, [[(0, bytes(4096))], []], [0])[0])


def test_a_write_goes_out_a_word_a_cycle():
    assert WRITES[FULL]["phases"][0]["cycles"] <= 512 + 40


def _lazy_case() -> tuple[dict[str, Any], list[list[int]]]:
    case, wanted = read_case(BUS, IMAGE, [[(0, 4096)], [(4096, 2048)]], [0])
    case["phases"][0]["sinks"]["data__0"] = (512, [600])  # a word every 600 cycles
    case["phases"][0]["limit"] = 1500
    return case, wanted


LAZY_CASE, LAZY_WORDS = _lazy_case()
LAZY = READS.add(LAZY_CASE)


def test_a_client_that_does_not_take_its_words_blocks_nobody():
    sinks = READS[LAZY]["phases"][0]["sinks"]
    assert len(sinks["data__0"]["words"]) <= 3
    assert sinks["data__1"]["words"] == LAZY_WORDS[1]
    assert sinks["data__1"]["cycles"][-1] < 400


BAD_WORD = 1024 + 27 * 8
BAD_READS = {
    response: read_case(
        BUS,
        IMAGE,
        [[(64, 256), (1024, 512)], [(4096, 512)]],
        [0],
        errors=[(BAD_WORD, BAD_WORD + 8, response), (1024 + 400, 1500, 2)],
    )
    for response in (2, 3)
}
BAD_READ_KEYS = {response: READS.add(case) for response, (case, _) in BAD_READS.items()}


@pytest.mark.parametrize("response", BAD_READS)
def test_a_bad_read_is_reported_with_its_address(response):
    phase = READS[BAD_READ_KEYS[response]]["phases"][0]
    assert phase["ended"]
    found = phase["error"], phase["error_address"], phase["error_response"]
    assert found == (1, BAD_WORD, response)
    words = [phase["sinks"][f"data__{i}"]["words"] for i in range(2)]
    assert words == BAD_READS[response][1]


BAD_WRITE = WRITES.add(
    write_case(
        BUS,
        IMAGE,
        [[(64, bytes(256)), (1024, bytes(512))], [(4096, bytes(512))]],
        [0],
        errors=[(1024 + 216, 1024 + 217, 3, "write")],
    )[0]
)


def test_a_bad_write_is_reported_with_its_burst():
    found = WRITES[BAD_WRITE]
    phase = found["phases"][0]
    assert (phase["error"], phase["error_address"], phase["error_response"]) == (1, 1024 + 192, 3)
    # the first command was whole before, the bad one is never done, nor what came after it
    assert len(found["done"]["done__0"]) == 1
    assert len(found["done"]["done__1"]) <= 1


def _stopped(kind: str, seed: int) -> tuple[dict[str, Any], Any]:
    """A run that is stopped at any time, then another; what the other shall give."""
    rng = random.Random(seed)
    calm = {"pauses": PAUSES, "latency": (0, 30), "write_latency": (0, 30), "seed": seed}
    if kind == "read":
        first, _ = read_case(BUS, IMAGE, [_reads(rng, BUS, 9) for _ in "ab"], _gaps(rng), **calm)
        second, right = read_case(BUS, IMAGE, [_reads(rng, BUS, 9) for _ in "ab"], _gaps(rng))
    else:
        both = _writes(rng, BUS, 20)
        right = both[10:]
        first, _ = write_case(BUS, IMAGE, [both[:5], both[5:10]], _gaps(rng), **calm)
        second, _ = write_case(BUS, IMAGE, [both[10:15], both[15:]], _gaps(rng))
    first["phases"][0]["stop"] = rng.randrange(1, 120)
    first["phases"].append(second["phases"][0])
    return first, right


STOPPED = {kind: [_stopped(kind, seed) for seed in range(10)] for kind in ("read", "write")}
STOPPED_KEYS = {
    kind: [{"read": READS, "write": WRITES}[kind].add(case) for case, _ in made]
    for kind, made in STOPPED.items()
}


def test_a_stop_in_the_middle_of_reads_then_a_right_run():
    for key, (_, right) in zip(STOPPED_KEYS["read"], STOPPED["read"], strict=True):
        broken, whole = READS[key]["phases"]
        assert broken["idle"]  # the memory, which checks the protocol, has answered everything
        assert whole["ended"]
        assert [whole["sinks"][f"data__{i}"]["words"] for i in range(2)] == right


def test_a_stop_in_the_middle_of_writes_then_a_right_run():
    for key, (_, right) in zip(STOPPED_KEYS["write"], STOPPED["write"], strict=True):
        found = WRITES[key]
        assert found["phases"][0]["idle"]
        assert found["phases"][1]["ended"]
        for address, data in right:
            assert found["image"][address : address + len(data)] == data


def _early_case() -> tuple[dict[str, Any], bytes]:
    data = bytes(range(128))
    case, image = write_case(BUS, IMAGE, [[(256, data)], []], [0])
    sources = case["phases"][0]["sources"]
    sources["command__0"] = ([command(BUS, 256, 128)], [60])
    sources["data__0"] = (words_of(BUS, data), [0])
    return case, image


EARLY_CASE, EARLY_IMAGE = _early_case()
EARLY = WRITES.add(EARLY_CASE)


def test_words_may_come_before_their_command():
    assert WRITES[EARLY]["image"] == EARLY_IMAGE
    assert WRITES[EARLY]["writes"][0][0] > 60


def _random_runs(seed: int) -> tuple[dict[str, Any], dict[str, list[int]]]:
    rng = random.Random(seed)
    runs = {
        name: [
            [rng.randrange(2**beat) for _ in range(rng.randrange(1, 14))]
            for _ in range(rng.randrange(1, 6))
        ]
        for name, (beat, _) in WIDTHS.items()
    }
    return width_cases(runs, [0] if seed % 4 == 0 else _gaps(rng))


RANDOM_RUNS = [_random_runs(seed) for seed in range(12)]
RUN_KEYS = [CONVERTERS.add(case) for case, _ in RANDOM_RUNS]
STEADY = CONVERTERS.add(
    width_cases(
        {
            name: [[i % 2**beat for i in range(60)] for _ in range(4)]
            for name, (beat, _) in WIDTHS.items()
        },
        [0],
    )[0]
)


def test_width_converters_follow_the_rule_of_bus_words():
    for key, (_, words) in zip(RUN_KEYS, RANDOM_RUNS, strict=True):
        found = CONVERTERS[key]
        assert {name: one["words"] for name, one in found.items()} == words
        assert not any(one["extra"] for one in found.values())


def test_width_converters_lose_no_cycle():
    found = CONVERTERS[STEADY]
    for name, (beat, bus) in WIDTHS.items():
        cut, packed = found[f"{name}_cut"]["cycles"], found[f"{name}_packed"]["cycles"]
        assert {b - a for a, b in pairwise(cut)} == {words_per_beat(beat, bus)}
        if beats_per_word(beat, bus) <= 1:
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
