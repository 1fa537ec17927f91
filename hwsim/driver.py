"""Host side of a board: reads and writes its registers and memory over a serial line.

`BoardLink` speaks the frames of `hwsim.models.board_frames` over any `Transport`: a real serial
port (`SerialTransport`, by pyserial) or the simulated UART of `hwsim.board_simulation`. A reply
that is damaged or does not come is asked for again, after zeros that end what the board may still
wait for. `Board` names the registers by the register map of the design and runs descriptor lists.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

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
from hwsim.models.registers import RegisterMap

__all__ = ["Board", "BoardLink", "SerialTransport", "Transport"]


class Transport(Protocol):
    """A line of bytes in both directions."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, count: int, timeout_s: float) -> bytes:
        """What came, 1 to `count` bytes; nothing when none came in `timeout_s` seconds."""

    def now(self) -> float:
        """Seconds on the line's clock."""


class SerialTransport:
    """A serial port.

    Args:
        port: `/dev/ttyUSB0`, `COM3`.
        baud: bits a second.

    Raises:
        UserError: pyserial is not installed or the port cannot be opened.
    """

    def __init__(self, port: str, baud: int) -> None:
        try:
            import serial
        except ImportError:
            raise UserError("a serial port needs pyserial: pip install pyserial") from None
        try:
            self._port: Any = serial.Serial(port, baud, timeout=0)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise UserError(f"the serial port {port} cannot be opened: {error}") from None

    def write(self, data: bytes) -> None:
        self._port.write(data)

    def read(self, count: int, timeout_s: float) -> bytes:
        self._port.timeout = timeout_s
        first = bytes(self._port.read(1))
        return first + bytes(self._port.read(min(count - 1, self._port.in_waiting)))

    def now(self) -> float:
        return time.monotonic()


class BoardLink:
    """Requests and replies.

    Args:
        transport: the line.
        timeout_s: how long a reply may take beyond the time in which it is sent.
        attempts: how often a request is sent before it is given up.

    Attributes:
        sent_bytes, received_bytes: on the line so far.
        repeated: requests sent again.
    """

    def __init__(self, transport: Transport, *, timeout_s: float = 0.5, attempts: int = 4) -> None:
        self.transport = transport
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.sent_bytes = 0
        self.received_bytes = 0
        self.repeated = 0
        self._sequence = 0
        self._reader = FrameReader()

    def memory_bytes(self) -> int:
        """Size of the board's memory; the first thing to ask, as it shows that the board is there.

        Raises:
            UserError: no answer, or the board refuses.
        """
        return int.from_bytes(self._ask(Operation.INFO, 0, 0), "little")

    def read_register(self, offset: int) -> int:
        """A register's 32 bits.

        Raises:
            UserError: no answer, or the board refuses.
        """
        return int.from_bytes(self._ask(Operation.READ_REGISTER, offset, 4), "little")

    def write_register(self, offset: int, value: int) -> None:
        """Write a register's 32 bits.

        A write of which the reply is lost is sent again: to write a register twice must do no harm,
        as holds for all registers here (a start is ignored unless the design is idle).

        Raises:
            UserError: no answer, or the board refuses.
        """
        self._ask(Operation.WRITE_REGISTER, offset, 4, value.to_bytes(4, "little"))

    def read_memory(self, address: int, count: int) -> bytes:
        """Bytes from `address`; both are multiples of the bus's bytes.

        Raises:
            UserError: no answer, or the board refuses.
        """
        parts = []
        for at in range(0, count, MOST_BYTES):
            size = min(MOST_BYTES, count - at)
            parts.append(self._ask(Operation.READ_MEMORY, address + at, size))
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write bytes to `address`; address and length are multiples of the bus's bytes.

        Raises:
            UserError: no answer, or the board refuses.
        """
        for at in range(0, len(data), MOST_BYTES):
            part = data[at : at + MOST_BYTES]
            self._ask(Operation.WRITE_MEMORY, address + at, len(part), part)

    def resynchronise(self) -> None:
        """Bring the board back to where it waits for a request, and forget what it has sent."""
        self._send(bytes(FLUSH_BYTES))
        while self._receive(MOST_BYTES, self.timeout_s):
            pass
        self._reader.clear()

    def _ask(self, operation: Operation, address: int, length: int, payload: bytes = b"") -> bytes:
        damaged = None
        for attempt in range(self.attempts):
            if attempt:
                self.repeated += 1
                self.resynchronise()
            self._sequence = (self._sequence + 1) % 256
            self._send(request(self._sequence, operation, address, length, payload))
            found = self._reply()
            if found is None:
                continue
            if found.status == Status.OK:
                return found.payload
            if found.status != Status.PAYLOAD:
                raise UserError(_refusal(found.status, operation, address, length))
            damaged = found.status
        raise UserError(
            f"the board gave no good reply to {operation.name.lower()} in {self.attempts} attempts"
            + (", its last word was a wrong checksum" if damaged is not None else "")
        )

    def _reply(self) -> Reply | None:
        """The reply to the last request; None when it does not come."""
        until = self.transport.now() + self.timeout_s
        while True:
            left = until - self.transport.now()
            data = self._receive(self._reader.missing(), left) if left > 0 else b""
            if not data:
                return None
            until = self.transport.now() + self.timeout_s  # as long as bytes come
            for found in self._reader.feed(data):
                if found.sequence == self._sequence:
                    return found

    def _send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        self.transport.write(data)

    def _receive(self, count: int, timeout_s: float) -> bytes:
        data = self.transport.read(count, timeout_s)
        self.received_bytes += len(data)
        return data


class Board:
    """A design on a board: its registers by name, its memory, its descriptor lists.

    Args:
        link: to the board.
        registers: the design's map, `hwsim.models.shell_map.shell_map`.
    """

    def __init__(self, link: BoardLink, registers: RegisterMap) -> None:
        self.link = link
        self.registers = registers

    def read(self, register: str) -> dict[str, int]:
        """All fields of a register.

        Raises:
            KeyError: there is no such register.
            UserError: no answer, or the board refuses.
        """
        one = self.registers[register]
        word = self.link.read_register(one.offset)
        return {f.name: (word & f.mask) >> f.lsb for f in one.fields}

    def write(self, register: str, **fields: int) -> None:
        """Write a register; fields not given are written as 0.

        Raises:
            KeyError: there is no such register or field.
            ValueError: a value does not fit its field.
            UserError: no answer, or the board refuses.
        """
        one = self.registers[register]
        word = 0
        for name, value in fields.items():
            f = one.field(name)
            if value < 0 or value >> f.bits:
                raise ValueError(
                    f"{register}.{name}: 0 <= value < {1 << f.bits} must hold, but got {value}"
                )
            word |= value << f.lsb
        self.link.write_register(one.offset, word)

    def identify(self) -> None:
        """Check that this is the design that the register map describes.

        Raises:
            UserError: it is another, or there is no answer.
        """
        for name in ("id", "config_hash", "build"):
            got, want = self.link.read_register(self.registers[name].offset), (
                self.registers[name].reset
            )  # fmt: skip
            if got != want:
                raise UserError(
                    f"the board holds another design: register {name} is {got:#010x}, but this "
                    f"configuration's is {want:#010x}"
                )

    def reset(self) -> None:
        """Stop whatever runs and clear errors, counters and interrupts.

        Raises:
            UserError: the design does not become idle, or there is no answer.
        """
        self.write("control", soft_reset=1, clear_counters=1)
        until = self.link.transport.now() + self.link.timeout_s
        while not self.read("status")["idle"]:
            if self.link.transport.now() > until:
                raise UserError(f"the board is not idle {self.link.timeout_s:g} s after its reset")
        self.write("irq_status", done=1, error=1, descriptor=1)

    def run(self, list_address: int, count: int, *, timeout_s: float = 10.0) -> None:
        """Run a list of `count` descriptors that stands in the memory, to its end.

        Raises:
            UserError: the design is not idle, reports an error, is not done in time, or there is
                no answer.
        """
        if not self.read("status")["idle"]:  # it would ignore the start
            raise UserError("the board is not idle: reset it after an error before the next list")
        self.write("list_address_lo", value=list_address & 0xFFFFFFFF)
        self.write("list_address_hi", value=list_address >> 32)
        self.write("list_count", value=count)
        self.write("irq_status", done=1, error=1, descriptor=1)
        self.write("control", start=1)
        until = self.link.transport.now() + timeout_s
        while True:
            # not `status`: a list that was done before the start reads `done` there too
            causes = self.read("irq_status")
            if causes["error"]:
                raise UserError(self._error())
            if causes["done"]:
                return
            if self.link.transport.now() > until:
                raise UserError(f"the board was not done within {timeout_s:g} s")

    def counter(self, name: str) -> int:
        """A performance counter of 64 bits, by its dotted name with underscores.

        Raises:
            KeyError: there is no such counter.
            UserError: no answer, or the board refuses.
        """
        low = self.link.read_register(self.registers[f"count_{name}_lo"].offset)
        # the read of the lower half has captured the upper
        return self.link.read_register(self.registers[f"count_{name}_hi"].offset) << 32 | low

    def counters(self) -> dict[str, int]:
        """All performance counters."""
        names = [
            one.name.removeprefix("count_").removesuffix("_lo")
            for one in self.registers.registers
            if one.name.startswith("count_") and one.name.endswith("_lo")
        ]
        return {name: self.counter(name) for name in names}

    def _error(self) -> str:
        error = self.read("error")
        names = {code: name for name, code in self.registers["error"].field("code").values.items()}
        index = self.read("error_index")["value"]
        low, high = (self.read(f"error_address_{half}")["value"] for half in ("lo", "hi"))
        return (
            f"the board stopped with error {names.get(error['code'], error['code'])} at descriptor "
            f"{index}, address {high << 32 | low:#x}"
        )


def _refusal(status: int, operation: Operation, address: int, length: int) -> str:
    what = f"{operation.name.lower()} of {length} bytes at {address:#x}"
    if status == Status.REQUEST:
        return f"the board refuses {what}: address or length break its rule"
    if status == Status.BUS:
        return f"the board's bus answers {what} with an error"
    return f"the board answers {what} with the unknown status {status}"
