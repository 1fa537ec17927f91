"""The board's parts: memory, bridge, pins; the whole board is in test_board_run."""

from __future__ import annotations

import gc
import json
import random
import struct
from dataclasses import replace
from functools import partial

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.board import BOARDS, board_config, write_board
from hwsim.config import load_config
from hwsim.config_base import BusConfig
from hwsim.errors import UserError
from hwsim.models.board_frames import (
    FLUSH_BYTES,
    MOST_BYTES,
    FrameReader,
    Operation,
    Reply,
    Status,
    request,
)
from hwsim.rtl import board_ulx3s
from hwsim.rtl.board_bridge import BoardBridge, axil_master_members
from hwsim.rtl.board_memory import BoardMemory

BUS = BusConfig(data_bits=32, address_bits=32)
MEMORY = 4096
REGISTER_BITS = 12
BAD_REGISTER = 0xFFC


def run(dut, *benches) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    for bench in benches[:-1]:
        simulator.add_testbench(bench, background=True)
    simulator.add_testbench(benches[-1])
    simulator.run()


# ---- memory


async def take(ctx, valid, ready, fields, rng):
    """One handshake as the receiver, after a random wait; the fields' values."""
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        await ctx.tick()
    ctx.set(ready, 1)
    while True:
        _, _, moved, *seen = await ctx.tick().sample(valid, *fields)
        if moved:
            ctx.set(ready, 0)
            return seen


async def give(ctx, valid, ready, values, rng):
    """One handshake as the sender, after a random wait."""
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        await ctx.tick()
    for signal, value in values:
        ctx.set(signal, value)
    ctx.set(valid, 1)
    moved = False
    while not moved:
        _, _, moved = await ctx.tick().sample(ready)
    ctx.set(valid, 0)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_memory_holds_what_both_ports_write(seed):
    """Random bursts of reads and of writes at once with words of the second port, all stalled."""
    rng = random.Random(seed)
    dut = BoardMemory(BUS, MEMORY)
    words = MEMORY // 4
    # Each side writes a third of its own and reads it back, so order between sides is free.
    expected = [0] * words
    thirds = {"axi": (0, words // 2), "port": (words // 2, words)}
    log = []

    async def bursts(ctx):
        for _ in range(6):
            outside = rng.random() < 0.2
            length = rng.randint(1, 8)
            low, high = thirds["axi"]
            start = rng.randint(low, high - length)
            address = start * 4 + (MEMORY if outside else 0)
            values = [(rng.getrandbits(32), rng.getrandbits(4)) for _ in range(length)]
            await give(ctx, dut.s_axi_awvalid, dut.s_axi_awready, [(dut.s_axi_awaddr, address),
                       (dut.s_axi_awlen, length - 1)], rng)  # fmt: skip
            for i, (value, strobe) in enumerate(values):
                await give(ctx, dut.s_axi_wvalid, dut.s_axi_wready, [(dut.s_axi_wdata, value),
                           (dut.s_axi_wstrb, strobe),
                           (dut.s_axi_wlast, i == length - 1)], rng)  # fmt: skip
                if not outside:
                    lanes = sum(0xFF << 8 * j for j in range(4) if strobe >> j & 1)
                    expected[start + i] = expected[start + i] & ~lanes | value & lanes
            (response,) = await take(
                ctx, dut.s_axi_bvalid, dut.s_axi_bready, [dut.s_axi_bresp], rng
            )
            log.append(response == (0b10 if outside else 0))
            await give(ctx, dut.s_axi_arvalid, dut.s_axi_arready, [(dut.s_axi_araddr, address),
                       (dut.s_axi_arlen, length - 1)], rng)  # fmt: skip
            for i in range(length):
                got, bad, last = await take(ctx, dut.s_axi_rvalid, dut.s_axi_rready,
                    [dut.s_axi_rdata, dut.s_axi_rresp, dut.s_axi_rlast], rng)  # fmt: skip
                log.append(bad == (0b10 if outside else 0))
                log.append(last == (i == length - 1))
                log.append(outside or got == expected[start + i])

    async def words_one_by_one(ctx):
        side = random.Random(seed + 1)
        low, high = thirds["port"]
        while True:
            at = side.randrange(low, high)
            ctx.set(dut.address, at)
            if side.random() < 0.5:
                value = side.getrandbits(32)
                ctx.set(dut.data, value)
                ctx.set(dut.write, 1)
                await ctx.tick()
                ctx.set(dut.write, 0)
                expected[at] = value
            else:
                ctx.set(dut.read, 1)
                await ctx.tick()
                ctx.set(dut.read, 0)
                await ctx.tick()
                log.append(ctx.get(dut.value) == expected[at])
            for _ in range(side.randint(0, 2)):
                await ctx.tick()

    run(dut, words_one_by_one, bursts)
    assert len(log) > 30
    assert all(log)


def test_a_read_burst_moves_a_word_a_cycle():
    dut = BoardMemory(BUS, MEMORY)
    came: list[int] = []

    async def bench(ctx):
        ctx.set(dut.s_axi_rready, 1)
        ctx.set(dut.s_axi_arlen, 63)
        ctx.set(dut.s_axi_arvalid, 1)
        for cycle in range(80):
            await ctx.tick()
            ctx.set(dut.s_axi_arvalid, 0)
            if ctx.get(dut.s_axi_rvalid):
                came.append(cycle)

    run(dut, bench)
    assert came == list(range(came[0], came[0] + 64))
    assert came[0] == 4


# ---- bridge


class Steady(random.Random):
    """Chooses what comes first: no wait."""

    def choice(self, options):
        return options[0]


class Bench(wiring.Component):
    """Bridge and memory as in the board's top; registers are left to the bench."""

    def __init__(self) -> None:
        self.bridge = BoardBridge(BUS.data_bits, MEMORY, REGISTER_BITS)
        super().__init__({"rst": In(1), "idle": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.bridge = bridge = self.bridge
        m.submodules.memory = memory = BoardMemory(BUS, MEMORY)
        m.d.comb += [
            memory.address.eq(bridge.memory_address),
            memory.write.eq(bridge.memory_write),
            memory.data.eq(bridge.memory_data),
            memory.read.eq(bridge.memory_read),
            bridge.memory_value.eq(memory.value),
        ]
        return m


def exchange(data: bytes, seed: int | None) -> tuple[list[Reply], dict[int, int], list[int]]:
    """Replies to bytes, registers, offsets written in order; random stalls but with None."""
    rng = random.Random(seed) if seed is not None else Steady()
    dut = Bench()
    bridge = dut.bridge
    registers: dict[int, int] = {}
    order: list[int] = []
    out = bytearray()

    async def slave_write(ctx):
        while True:
            fields = {}
            channels = ["aw", "w"]
            rng.shuffle(channels)
            for channel in channels:
                valid = getattr(bridge, f"m_axil_{channel}valid")
                ready = getattr(bridge, f"m_axil_{channel}ready")
                name = "addr" if channel == "aw" else "data"
                signal = getattr(bridge, f"m_axil_{channel}{name}")
                (fields[name],) = await take(ctx, valid, ready, [signal], rng)
            order.append(fields["addr"])
            bad = fields["addr"] == BAD_REGISTER
            if not bad:
                registers[fields["addr"]] = fields["data"]
            await give(ctx, bridge.m_axil_bvalid, bridge.m_axil_bready,
                       [(bridge.m_axil_bresp, 0b11 if bad else 0)], rng)  # fmt: skip

    async def slave_read(ctx):
        while True:
            (address,) = await take(
                ctx, bridge.m_axil_arvalid, bridge.m_axil_arready, [bridge.m_axil_araddr], rng
            )
            await give(ctx, bridge.m_axil_rvalid, bridge.m_axil_rready,
                       [(bridge.m_axil_rdata, registers.get(address, 0)),
                        (bridge.m_axil_rresp, 0b11 if address == BAD_REGISTER else 0)],
                       rng)  # fmt: skip

    async def listener(ctx):
        while True:
            (byte,) = await take(ctx, bridge.o.valid, bridge.o.ready, [bridge.o.payload], rng)
            out.append(byte)

    async def host(ctx):
        for byte in data:
            await give(ctx, bridge.i.valid, bridge.i.ready, [(bridge.i.payload, byte)], rng)
        quiet, seen = 0, 0
        while quiet < 60:
            await ctx.tick()
            quiet, seen = (quiet + 1, seen) if len(out) == seen else (0, len(out))

    run(dut, slave_write, slave_read, listener, host)
    return FrameReader().feed(bytes(out)), registers, order


words = partial(st.integers, 0)
register_writes = st.tuples(
    st.just(Operation.WRITE_REGISTER), words(MEMORY // 4 - 2), st.binary(min_size=4, max_size=4)
)
register_reads = st.tuples(st.just(Operation.READ_REGISTER), words(MEMORY // 4 - 2), st.just(4))
memory_writes = st.tuples(
    st.just(Operation.WRITE_MEMORY),
    words(MEMORY // 4 - 8),
    st.integers(1, 8).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)),
)
memory_reads = st.tuples(
    st.just(Operation.READ_MEMORY), words(MEMORY // 4 - 8), st.integers(1, 8).map(lambda n: 4 * n)
)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.one_of(register_writes, register_reads, memory_writes, memory_reads),
        min_size=1, max_size=6,
    ),
    words(2**32 - 1),
)  # fmt: skip
def test_every_request_does_what_it_says(requests, seed):
    memory = bytearray(MEMORY)
    registers: dict[int, int] = {}
    sent, expected = b"", []
    for number, (operation, word, what) in enumerate(requests):
        address = 4 * word
        payload = what if isinstance(what, bytes) else b""
        length = len(what) if isinstance(what, bytes) else what
        sent += request(number, operation, address, length, payload)
        if operation == Operation.WRITE_MEMORY:
            memory[address : address + length] = payload
        elif operation == Operation.WRITE_REGISTER:
            registers[address] = int.from_bytes(payload, "little")
        answer = b""
        if operation == Operation.READ_MEMORY:
            answer = bytes(memory[address : address + length])
        elif operation == Operation.READ_REGISTER:
            answer = registers.get(address, 0).to_bytes(4, "little")
        expected.append(Reply(sequence=number, status=Status.OK, payload=answer))
    replies, held, _ = exchange(sent, seed)
    # memory starts as zeros, as the block RAM of a freshly loaded FPGA
    assert replies == expected
    assert held == registers


@settings(max_examples=8, deadline=None)
@given(st.binary(max_size=40), words(2**32 - 1))
def test_after_garbage_and_zeros_the_bridge_serves(garbage, seed):
    # no header in the garbage has a right CRC, so the zeros need only fill a header
    replies, _, order = exchange(garbage + bytes(12) + request(9, 0, 0, 0), seed)
    assert replies[-1] == Reply(sequence=9, status=0, payload=struct.pack("<I", MEMORY))
    assert order == []  # garbage has written no register


def test_a_flush_ends_the_longest_request():
    header = request(1, Operation.WRITE_MEMORY, 0, MOST_BYTES)
    replies, _, _ = exchange(header + bytes(FLUSH_BYTES) + request(9, 0, 0, 0), None)
    assert [(reply.sequence, reply.status) for reply in replies] == [
        (1, Status.PAYLOAD),
        (9, Status.OK),
    ]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_a_damaged_register_write_writes_nothing(data):
    frame = bytearray(request(3, Operation.WRITE_REGISTER, 0x10, 4, b"\x01\0\0\0"))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    replies, registers, _ = exchange(bytes(frame) + bytes(12), 1)
    assert registers == {}
    assert all(reply.status == Status.PAYLOAD for reply in replies)
    assert [reply.sequence for reply in replies] in ([], [3])


@pytest.mark.parametrize(
    ("operation", "address", "length"),
    [
        (9, 0, 0),
        (Operation.INFO, 0, 4),
        (Operation.READ_REGISTER, 2, 4),
        (Operation.READ_REGISTER, 0, 8),
        (Operation.READ_REGISTER, 1 << REGISTER_BITS, 4),
        (Operation.READ_MEMORY, 2, 4),
        (Operation.READ_MEMORY, 0, 6),
        (Operation.READ_MEMORY, 0, 0),
        (Operation.READ_MEMORY, 0, MOST_BYTES + 4),
        (Operation.READ_MEMORY, MEMORY - 4, 8),
        (Operation.READ_MEMORY, 0xFFFFFFFC, 4),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(operation, address, length):
    replies, _, _ = exchange(request(5, operation, address, length) + request(6, 0, 0, 0), 2)
    assert [(reply.sequence, reply.status) for reply in replies] == [
        (5, Status.REQUEST),
        (6, Status.OK),
    ]


def test_an_error_of_the_register_bus_is_reported():
    sent = request(1, Operation.READ_REGISTER, BAD_REGISTER, 4)
    sent += request(2, Operation.WRITE_REGISTER, BAD_REGISTER, 4, b"abcd")
    replies, registers, order = exchange(sent, 3)
    assert [reply.status for reply in replies] == [Status.BUS, Status.BUS]
    assert (registers, order) == ({}, [BAD_REGISTER])


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_sizes_are_checked():
    with pytest.raises(ValueError, match="word_bits must be a power of two >= 32, but got 48"):
        BoardBridge(48, MEMORY, 12)
    with pytest.raises(ValueError, match="memory_bytes must be a power of two >= 1024, but got 5"):
        BoardBridge(32, 5, 12)
    with pytest.raises(ValueError, match="memory_bytes must be a power of two >= 4096"):
        BoardMemory(BUS, 2048)
    gc.collect()  # the refused components warn that they are unused: here, not in another test
    flows = {name: member.flow for name, member in axil_master_members(12).items()}
    assert flows["m_axil_awvalid"] is Out and flows["m_axil_awready"] is In


# ---- ULX3S


def test_pins_are_those_of_amaranth_boards():
    boards = pytest.importorskip("amaranth_boards.ulx3s")
    platform = boards.ULX3S_85F_Platform()
    sites = {pin.port: pin.site for pin in board_ulx3s.PINS}

    def names(resource, number=0, part=None):
        found = platform.resources[resource, number].ios
        if part is not None:
            found = next(one for one in found if getattr(one, "name", None) == part).ios
        return found[0].names

    assert names("clk25") == [sites["clk25"]]
    assert names("uart", part="rx") == [sites["uart_rx"]]
    assert names("uart", part="tx") == [sites["uart_tx"]]
    assert names("button_fire") == [sites["button"]]
    assert names("esp32", part="gpio0") == [sites["esp32_gpio0"]]
    assert [names("led", i) for i in range(8)] == [[sites[f"led[{i}]"]] for i in range(8)]
    package = board_ulx3s.DEVICE[board_ulx3s.DEVICE.index("--package") + 1]
    assert package == platform.package.replace("BG", "CABGA") and platform.device == "LFE5U-85F"
    assert board_ulx3s.DEVICE[board_ulx3s.DEVICE.index("--speed") + 1] == platform.speed


@pytest.mark.parametrize("mhz", [12.5, 25, 50, 62.5, 75, 100, 112.5])
def test_pll_makes_the_clock_inside_its_limits(mhz):
    found = board_ulx3s.pll(mhz * 1e6)
    assert found.hz == mhz * 1e6
    assert 400e6 <= found.hz * found.output_divider <= 800e6
    assert 25e6 / found.input_divider >= 3.125e6


@pytest.mark.parametrize("mhz", [33.3, 1, 500])
def test_a_clock_that_the_pll_cannot_make_is_refused(mhz):
    with pytest.raises(UserError, match="clock_hz: the board's PLL makes 25 MHz times n / d"):
        board_ulx3s.pll(mhz * 1e6)


def test_write_board_without_tools(tmp_path, monkeypatch):
    small = replace(BOARDS["ulx3s"], memory_bytes=4096)
    monkeypatch.setattr("hwsim.board.BOARDS", {"ulx3s": small})
    config = board_config("ulx3s", ("rows=2", "cols=2"))
    files = write_board(config, tmp_path, bitstream=False)
    assert {path.name for path in files} == {"ulx3s.v", "ulx3s.lpf", "config.yaml", "board.json"}
    about = json.loads((tmp_path / "board.json").read_text())
    assert about["clock_hz"] == 50e6 and about["baud_error"] == 0 and "fmax_hz" not in about
    verilog = (tmp_path / "ulx3s.v").read_text()
    for module in ("ulx3s", "hwsim_board", "sat_axi", "sat_top"):
        assert verilog.count(f"module {module} ") + verilog.count(f"module {module}(") == 1
    lpf = (tmp_path / "ulx3s.lpf").read_text()
    assert all(f'LOCATE COMP "{pin.port}" SITE' in lpf for pin in board_ulx3s.PINS)
    assert load_config(tmp_path / "config.yaml") == config


def test_what_a_board_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match="--board must be one of ulx3s, but got 'abacus'"):
        board_config("abacus")
    with pytest.raises(UserError, match="kind: the board's design is a sat, but"):
        board_config("ulx3s", accelerator="spgemm")
    with pytest.raises(UserError, match="clock_hz must be near a multiple of 1,000,000 baud"):
        write_board(board_config("ulx3s", ("clock_hz=1.25e7",)), tmp_path, bitstream=False)
    assert BOARDS["ulx3s"].memory_bytes % 4096 == 0
