"""Frames between a host and a board: reads and writes of registers and of the board's memory.

A request is
    0xA5, sequence, operation, length (2 bytes), address (4 bytes), CRC (2 bytes)
and of a write then
    `length` bytes, CRC (2 bytes);
its reply is
    0x5A, sequence, status, length (2 bytes), `length` bytes, CRC (2 bytes).
Numbers are little-endian, but a CRC, CRC-16 of polynomial 0x1021 starting from 0xFFFF over what
stands between the byte that opens a frame, or the CRC before, and itself, has its high byte first.

The board acts on a request only when the header's CRC is right, and drops bytes that do not begin a
frame; a header that is wrong gets no reply. A register is written when the payload's CRC is right;
memory is written as the payload comes, and `payload` says that it must be written again. After
`FLUSH_BYTES` zero bytes the board waits for a new frame, whatever came before.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "FLUSH_BYTES",
    "HEADER_BYTES",
    "MOST_BYTES",
    "REPLY_SYNC",
    "REQUEST_SYNC",
    "FrameReader",
    "Operation",
    "Reply",
    "Status",
    "checksum",
    "reply",
    "request",
]

REQUEST_SYNC, REPLY_SYNC = 0xA5, 0x5A

MOST_BYTES = 1024
"""Payload of a frame at most. Not given; chosen so that headers and checksums cost 3 %."""

HEADER_BYTES = 8
"""Of a request, between the opening byte and the CRC."""

FLUSH_BYTES = MOST_BYTES + HEADER_BYTES + 2 + 2
"""Zero bytes that end any request of which a part came."""


class Operation(IntEnum):
    """What a request asks for."""

    INFO = 0
    """Reply: 4 bytes, the size of the memory in bytes. Length 0."""
    READ_REGISTER = 1
    """Length 4, address a multiple of 4."""
    WRITE_REGISTER = 2
    """The same."""
    READ_MEMORY = 3
    """Length and address multiples of the bus's bytes, `MOST_BYTES` at most."""
    WRITE_MEMORY = 4
    """The same."""


class Status(IntEnum):
    """What a reply says; with all but `OK` its length is 0."""

    OK = 0
    PAYLOAD = 1
    """The payload's CRC was wrong."""
    REQUEST = 2
    """No such operation, or the address or the length breaks its rule."""
    BUS = 3
    """The register's AXI4-Lite response was an error."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A reply that came whole and with a right CRC."""

    sequence: int
    status: int
    payload: bytes


def checksum(data: bytes) -> bytes:
    """CRC-16 of polynomial 0x1021 starting from 0xFFFF, the high byte first."""
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")


def request(
    sequence: int, operation: int, address: int, length: int, payload: bytes = b""
) -> bytes:
    """The bytes of a request.

    Args:
        sequence: 0 to 255; the reply repeats it.
        operation: an `Operation`.
        address: of the first byte.
        length: bytes to read or write.
        payload: of a write, `length` bytes.

    Raises:
        ValueError: a number does not fit its field, or the payload has another length.
    """
    if payload and len(payload) != length:
        raise ValueError(f"payload must have {length} bytes, but got {len(payload)}")
    try:
        header = struct.pack("<BBHI", sequence, operation, length, address)
    except struct.error as error:
        raise ValueError(f"a field of the request does not fit: {error}") from None
    frame = bytes([REQUEST_SYNC]) + header + checksum(header)
    return frame + payload + checksum(payload) if payload else frame


def reply(sequence: int, status: int, payload: bytes = b"") -> bytes:
    """The bytes of a reply; for tests that play the board."""
    body = struct.pack("<BBH", sequence, status, len(payload)) + payload
    return bytes([REPLY_SYNC]) + body + checksum(body)


class FrameReader:
    """Finds replies in the bytes that a board sends, whatever else comes between."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are whole with these bytes.

        Where a byte opens no frame with a right CRC, the search goes on with the next byte.
        """
        self._held += data
        found: list[Reply] = []
        while True:
            at = self._held.find(REPLY_SYNC)
            del self._held[: len(self._held) if at < 0 else at]
            if len(self._held) < 5:
                return found
            sequence, status, length = struct.unpack_from("<BBH", self._held, 1)
            if length > MOST_BYTES:
                del self._held[0]
                continue
            end = 5 + length
            if len(self._held) < end + 2:
                return found
            body = bytes(self._held[1:end])
            if bytes(self._held[end : end + 2]) == checksum(body):
                found.append(Reply(sequence=sequence, status=status, payload=body[4:]))
                del self._held[: end + 2]
            else:
                del self._held[0]

    def missing(self) -> int:
        """Least bytes that must come before a further reply can be whole, at least 1."""
        if len(self._held) < 5:
            return 7 - len(self._held)
        (length,) = struct.unpack_from("<H", self._held, 3)
        return max(1, 7 + int(length) - len(self._held))

    def clear(self) -> None:
        """Forget what has come."""
        self._held.clear()
