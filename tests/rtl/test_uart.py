"""The UART: bytes through the line at any phase and rate, glitches, breaks, a full queue."""

from __future__ import annotations

import gc

import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.rtl.uart import Uart, UartReceiver, UartTransmitter

BYTES = st.lists(st.integers(0, 255), min_size=1, max_size=4)


def levels(data: list[int]) -> list[int]:
    """A byte's bits as they go over the line, the lowest first."""
    return [bit for byte in data for bit in (0, *((byte >> i) & 1 for i in range(8)), 1)]


def received(bits: list[int], ticks: float, clocks_per_bit: int) -> tuple[list[int], int]:
    """Bytes and framing errors that a receiver finds in bits of `ticks` clocks each."""
    dut = UartReceiver(clocks_per_bit)
    found: list[int] = []
    errors = 0

    async def bench(ctx):
        nonlocal errors
        length = round((len(bits) + 2) * ticks) + 8
        for cycle in range(length):
            at = int((cycle - 4) / ticks)
            ctx.set(dut.rx, bits[at] if cycle >= 4 and at < len(bits) else 1)
            await ctx.tick()
            errors += ctx.get(dut.framing_error)
            if ctx.get(dut.o.valid):
                found.append(ctx.get(dut.o.payload))

    run(dut, bench)
    return found, errors


def run(dut, bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@settings(max_examples=10, deadline=None)
@given(BYTES, st.sampled_from([4, 5, 8]))
def test_receiver_finds_the_bytes_at_the_nominal_rate(data, clocks):
    assert received(levels(data), clocks, clocks) == (data, 0)


@settings(max_examples=8, deadline=None)
@given(BYTES, st.floats(-0.035, 0.035))
def test_receiver_bears_the_stated_difference_of_clocks(data, error):
    # (1/2 - 2/16) / 9.5 = 3.9 % at 16 clocks a bit
    assert received(levels(data), 16 * (1 + error), 16) == (data, 0)


def test_receiver_ignores_a_glitch_of_one_clock_anywhere():
    bits = [level for level in levels([0x5A]) for _ in range(8)]
    for at in range(2, len(bits), 3):
        flipped = list(bits)
        flipped[at] ^= 1
        if at % 8 in (0, 7):  # at a bit's border a glitch only moves the edge
            continue
        found, _ = received(flipped, 1, 8)
        assert found == [0x5A], at
    assert received([1] * 9 + [0] + [1] * 90, 1, 8) == ([], 0)  # no start bit


def test_a_break_is_one_framing_error_and_the_next_byte_is_whole():
    bits = [0] * 25 + [1] * 2 + levels([0xC3])
    assert received(bits, 8, 8) == ([0xC3], 1)


@settings(max_examples=6, deadline=None)
@given(BYTES, st.lists(st.integers(0, 60), min_size=1, max_size=4))
def test_transmitter_sends_exact_bits_without_gaps_of_its_own(data, gaps):
    clocks = 4
    dut = UartTransmitter(clocks)
    line: list[int] = []

    async def bench(ctx):
        left = list(data)
        wait = gaps[0]
        for _ in range(len(data) * (10 * clocks + max(gaps) + 2) + 2 * clocks):
            offer = bool(left) and wait == 0
            ctx.set(dut.i.valid, offer)
            ctx.set(dut.i.payload, left[0] if left else 0)
            taken = offer and ctx.get(dut.i.ready)
            wait = max(0, wait - 1)
            await ctx.tick()
            line.append(ctx.get(dut.tx))
            if taken:
                left.pop(0)
                wait = gaps[(len(data) - len(left)) % len(gaps)]

    run(dut, bench)
    found = []
    at = 0
    while 0 in line[at:]:
        at = line.index(0, at)
        frame = line[at : at + 10 * clocks]
        assert all(len(set(frame[i : i + clocks])) == 1 for i in range(0, 10 * clocks, clocks))
        assert frame[-1] == 1
        found.append(sum(frame[(1 + i) * clocks] << i for i in range(8)))
        at += 10 * clocks
    assert found == data


def test_the_queue_holds_what_it_says_and_reports_what_is_lost():
    clocks, depth = 4, 3
    dut = Uart(clocks, depth)
    lost = 0
    taken: list[int] = []

    async def bench(ctx):
        nonlocal lost
        for level in levels([1, 2, 3, 4, 5]) + [1] * 4:
            for _ in range(clocks):
                ctx.set(dut.rx, level)
                await ctx.tick()
                lost += ctx.get(dut.lost)
        ctx.set(dut.o.ready, 1)
        for _ in range(8):
            if ctx.get(dut.o.valid):
                taken.append(ctx.get(dut.o.payload))
            await ctx.tick()

    run(dut, bench)
    assert taken == [1, 2, 3]
    assert lost == 2


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_too_few_clocks_a_bit_are_refused():
    for component in (UartReceiver, UartTransmitter):
        with pytest.raises(ValueError, match="clocks_per_bit >= 4 must hold, but got 3"):
            component(3)
    gc.collect()  # the refused components warn that they are unused: here, not in another test
