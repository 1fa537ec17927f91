"""The host driver against a board in Python whose line loses, changes and adds bytes."""

from __future__ import annotations

import random
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.board import board_config, board_registers
from hwsim.board_array import ArrayOnBoard
from hwsim.board_digits import classify
from hwsim.dataflows.stce import OS
from hwsim.driver import Board, BoardLink, SerialTransport
from hwsim.errors import UserError
from hwsim.models.board_frames import (
    HEADER_BYTES,
    MOST_BYTES,
    FrameReader,
    Operation,
    Reply,
    Status,
    checksum,
    reply,
    request,
)
from hwsim.sat_layers import Layer

MEMORY = 8192


class PlayedBoard:
    """A transport with a board behind it, byte by byte as the hardware's bridge.

    Args:
        faults: share of bytes that are lost or changed, in both directions, while `budget` lasts.
    """

    def __init__(self, faults: float = 0.0, budget: int = 0, seed: int = 0) -> None:
        self.memory = bytearray(MEMORY)
        self.registers: dict[int, int] = {}
        self.writes: list[tuple[int, int]] = []
        self.deaf = False
        self._rng = random.Random(seed)
        self._faults, self._budget = faults, budget
        self._held = bytearray()
        self._out = bytearray()
        self._clock = 0.0

    def write(self, data: bytes) -> None:
        if not self.deaf:
            self._held += self._line(data)
            self._serve()

    def read(self, count: int, timeout_s: float) -> bytes:
        found = bytes(self._out[:count])
        del self._out[:count]
        self._clock += 0 if found else timeout_s
        return found

    def now(self) -> float:
        return self._clock

    def _line(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._budget and self._rng.random() < self._faults:
                self._budget -= 1
                kind = self._rng.randrange(3)
                if kind == 1:
                    out.append(byte ^ 1 << self._rng.randrange(8))
                elif kind == 2:
                    out += bytes([byte, self._rng.randrange(256)])
            else:
                out.append(byte)
        return bytes(out)

    def _serve(self) -> None:
        while True:
            at = self._held.find(0xA5)
            del self._held[: len(self._held) if at < 0 else at]
            if len(self._held) < HEADER_BYTES + 3:
                return
            header = bytes(self._held[1 : HEADER_BYTES + 1])
            if bytes(self._held[HEADER_BYTES + 1 : HEADER_BYTES + 3]) != checksum(header):
                del self._held[: HEADER_BYTES + 3]
                continue
            sequence, operation, length, address = struct.unpack("<BBHI", header)
            rest = self._held[HEADER_BYTES + 3 :]
            taken = 0
            if operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY):
                taken = length + 2
                if len(rest) < taken:
                    return
            payload = bytes(rest[: taken - 2]) if taken else b""
            good = not taken or bytes(rest[taken - 2 : taken]) == checksum(payload)
            del self._held[: HEADER_BYTES + 3 + taken]
            status, answer = self._act(operation, address, length, payload, good)
            self._out += self._line(reply(sequence, status, answer))

    def _act(self, operation, address, length, payload, good):
        if operation == Operation.WRITE_MEMORY:
            self.memory[address : address + length] = payload
        if not good:
            return Status.PAYLOAD, b""
        if operation == Operation.INFO:
            return Status.OK, struct.pack("<I", MEMORY)
        if operation == Operation.READ_MEMORY:
            return Status.OK, bytes(self.memory[address : address + length])
        if operation == Operation.READ_REGISTER:
            if address % 4:
                return Status.REQUEST, b""
            return Status.OK, struct.pack("<I", self.registers.get(address, 0))
        if operation == Operation.WRITE_REGISTER:
            if address == 0x44:
                return Status.BUS, b""
            self.registers[address] = int.from_bytes(payload, "little")
            self.writes.append((address, self.registers[address]))
        return Status.OK, b""


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_the_line_does_the_bytes_arrive(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    board = PlayedBoard(faults=data.draw(st.sampled_from([0, 0.01, 0.05])), budget=4, seed=seed)
    link = BoardLink(board, timeout_s=0.1, attempts=6)
    words = data.draw(st.integers(1, MEMORY // 8))
    content = random.Random(seed).randbytes(8 * words)
    address = 8 * data.draw(st.integers(0, MEMORY // 8 - words))
    link.write_memory(address, content)
    assert link.read_memory(address, len(content)) == content
    link.write_register(0x20, seed)
    assert link.read_register(0x20) == seed
    assert set(board.writes) == {(0x20, seed)}
    if not link.repeated:
        frames = -(-len(content) // MOST_BYTES)
        assert link.sent_bytes == len(content) + frames * (13 + 11) + 17 + 11
        assert link.received_bytes == len(content) + frames * 14 + 7 + 11


def test_a_line_without_a_board_is_one_sentence():
    board = PlayedBoard()
    board.deaf = True
    with pytest.raises(UserError, match=r"no good reply to info in 3 attempts$"):
        BoardLink(board, timeout_s=0.1, attempts=3).memory_bytes()
    assert board.now() == pytest.approx(0.1 * (3 + 2))


def test_refusals_name_the_request():
    link = BoardLink(PlayedBoard())
    with pytest.raises(UserError, match="refuses read_register of 4 bytes at 0x3: address or"):
        link.read_register(3)
    with pytest.raises(UserError, match="bus answers write_register of 4 bytes at 0x44 with an er"):
        link.write_register(0x44, 1)


def test_registers_by_name():
    board, link = PlayedBoard(), None
    link = BoardLink(board)
    named = Board(link, board_registers(board_config()))
    named.write("irq_enable", done=1, descriptor=1)
    assert board.registers == {0x18: 0b101}
    board.registers[0x30] = 9 | 2 << 8
    assert named.read("error") == {"code": 9, "response": 2}
    with pytest.raises(ValueError, match=r"irq_enable.done: 0 <= value < 2 must hold, but got 2"):
        named.write("irq_enable", done=2)
    with pytest.raises(UserError, match="another design: register id is 0x00000000"):
        named.identify()


def test_a_list_that_fails_or_never_ends_is_one_sentence():
    board = PlayedBoard()
    registers = board_registers(board_config())
    named = Board(BoardLink(board, timeout_s=0.01), registers)
    status = registers["irq_status"].offset
    plain = board._act

    def act(operation, address, length, payload, good):
        """A design that clears no cause and whose every poll takes a second."""
        if operation == Operation.WRITE_REGISTER and address == status:
            return Status.OK, b""
        board._clock += 1
        return plain(operation, address, length, payload, good)

    board._act = act
    with pytest.raises(UserError, match="the board is not idle: reset it after an error before"):
        named.run(0, 1)
    board.registers[registers["status"].offset] = 1
    with pytest.raises(UserError, match="the board was not done within 5 s"):
        named.run(0, 1, timeout_s=5)
    board.registers |= {status: 0b10, registers["error"].offset: 8,
                        registers["error_index"].offset: 3,
                        registers["error_address_lo"].offset: 0x1240}  # fmt: skip
    with pytest.raises(UserError, match="error read_bus at descriptor 3, address 0x1240"):
        named.run(0, 1)


def test_what_does_not_fit_is_refused_before_it_is_sent():
    config = board_config()
    board = PlayedBoard()
    registers = board_registers(config)
    for name in ("id", "config_hash", "build"):
        board.registers[registers[name].offset] = registers[name].reset
    board.registers[registers["status"].offset] = 1
    array = ArrayOnBoard(Board(BoardLink(board), registers), config)
    a, b = np.zeros((200, 64), np.int8), np.ones((64, 64), np.int8)
    with pytest.raises(UserError, match="bytes, but the board's memory has 8,192: send fewer"):
        array.load([Layer(name="fc", a=a, b=b, mode=OS)])
    with pytest.raises(UserError, match="layer 'x' is not loaded"):
        array.product("x", a)
    array.load([Layer(name="fc", a=a[:4, :8], b=b[:8, :8], mode=OS)])
    with pytest.raises(UserError, match=r"loaded for A of shape \(4, 8\), but got \(200, 64\)"):
        array.product("fc", a)
    with pytest.raises(UserError, match="format: the digits are int8, but the board holds fp16"):
        classify(board, board_config("ulx3s", ("format=fp16",)), a)
    with pytest.raises(UserError, match="batch must be at least 1, but got 0"):
        classify(board, config, a, batch=0)


def test_a_serial_port_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(UserError, match="a serial port needs pyserial: pip install pyserial"):
        SerialTransport("/dev/ttyUSB0", 1_000_000)


def test_a_serial_port_is_read_as_bytes_come(monkeypatch):
    class Port:
        def __init__(self, port, baud, timeout):
            if port == "absent":
                raise OSError("no such port")
            self.held, self.sent, self.timeout = b"abcdef", b"", timeout

        @property
        def in_waiting(self):
            return len(self.held)

        def read(self, count):
            found, self.held = self.held[:count], self.held[count:]
            return found

        def write(self, data):
            self.sent += data

    monkeypatch.setitem(sys.modules, "serial", type("serial", (), {"Serial": Port}))
    with pytest.raises(UserError, match="serial port absent cannot be opened: no such port"):
        SerialTransport("absent", 9600)
    port = SerialTransport("somewhere", 9600)
    assert [port.read(4, 0.1), port.read(4, 0.1), port.read(4, 0.1)] == [b"abcd", b"ef", b""]
    port.write(b"xy")
    assert port._port.sent == b"xy" and port._port.timeout == 0.1
    assert port.now() <= port.now()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=4), st.binary(max_size=30), st.integers(1, 9))
def test_replies_are_found_between_garbage_in_any_pieces(payloads, garbage, piece):
    frames = [reply(i, 0, payload) for i, payload in enumerate(payloads)]
    line = b"".join(frames)
    reader = FrameReader()
    found = []
    for at in range(0, len(line), piece):
        found += reader.feed(line[at : at + piece])
        assert 1 <= reader.missing() <= MOST_BYTES + 7
    assert found == [Reply(sequence=i, status=0, payload=p) for i, p in enumerate(payloads)]
    # after garbage without an opening byte nothing is lost
    quiet = garbage.replace(b"\x5a", b"")
    assert FrameReader().feed(quiet + line) == found


def test_a_request_checks_its_fields():
    with pytest.raises(ValueError, match="payload must have 4 bytes, but got 2"):
        request(0, Operation.WRITE_REGISTER, 0, 4, b"ab")
    with pytest.raises(ValueError, match="a field of the request does not fit"):
        request(256, Operation.INFO, 0, 0)
