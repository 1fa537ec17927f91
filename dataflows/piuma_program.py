"""Names that the thread programs of the PIUMA model share: costs, registers, states, words.

Rows of int64 arrays are records; the constants here are their columns (`piuma_machine` has those
of the machine itself). States are numbered by group, so that a group is a range.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.piuma_machine import REGISTER

__all__ = ["CORE_COLUMNS", "COSTS", "Matrix", "Work"]

COSTS = (
    "row", "token", "search", "row_step", "entry", "element", "multiply", "hash", "probe",
    "next_slot", "accumulate", "insert", "offset", "scan", "emit", "copy_entry", "window", "dma",
    "bound", "bound_row", "cut", "partial", "segment", "head", "compare", "merge_out", "pair",
    "intersect", "match", "result",
)  # fmt: skip
(
    X_ROW, X_TOKEN, X_SEARCH, X_ROW_STEP, X_ENTRY, X_ELEMENT, X_MULTIPLY, X_HASH, X_PROBE,
    X_NEXT_SLOT, X_ACCUMULATE, X_INSERT, X_OFFSET, X_SCAN, X_EMIT, X_COPY, X_WINDOW, X_DMA,
    X_BOUND, X_BOUND_ROW, X_CUT, X_PARTIAL, X_SEGMENT, X_HEAD, X_COMPARE, X_MERGE_OUT, X_PAIR,
    X_INTERSECT, X_MATCH, X_RESULT,
) = range(len(COSTS))  # fmt: skip

# Registers of a thread, those of a product first. LINE_INDEX and LINE_VALUE are the lines of B that
# it read last: the next word of the same line is at hand without another look at the cache.
(P, P_END, E, KEY, SLOT, PLACE, LINE_INDEX, LINE_VALUE, WORKER, ROW, ROW_END, E_END, INNER, LOW,
 TOP, SINCE, BEGUN, ENDED, FIRST, SLICE) = range(REGISTER, REGISTER + 20)  # fmt: skip

# What the threads of a core share. JOBS is a ring of four DMA descriptors (kind, bytes, address).
(C_WINDOW, C_ROW, C_ROW_END, C_E, C_E_END, C_Z, C_BASE, C_SLOTS, C_FAR, C_FAR_AT, C_TOKEN,
 C_COUNT, C_ARRIVED, C_LAST, C_ORDER, C_FILLS, C_WAITING, C_BEGUN, C_HEAD, C_TAIL,
 C_TOKEN_SIZE, C_JOBS) = range(22)  # fmt: skip
CORE_COLUMNS = C_JOBS + 12
FILL_PAD, FILL_FAR, COPY = range(3)

# What follows the instructions of a state: a cached load, an event of its own, a plain scratchpad
# access, nothing, a barrier, a load of the line read last; or no instructions: go on with the next
# state, or stop until somebody files the thread.
LOAD, EVENT, PLAIN, GO, PARK, AGAIN, NEXT_STATE, STOP = range(8)


# Phases, as `hwsim.dataflows.piuma.PHASES`.
PH_DISTRIBUTION, PH_CUT, PH_HASHING, PH_WRITE_BACK, PH_DMA, PH_MULTIPLY, PH_MERGE, PH_INTERSECT = (
    range(8)
)


# The scratchpad's shared words; slot s has its tag in word TAGS + s.
WORD_WINDOW, WORD_TOKEN, WORD_COUNT, WORD_ROWS, TAGS = 0, 1, 2, 3, 64

SPREAD = 0x9E3779B1
"""Odd multiplier of a key before its low bits are taken: 2^32 over the golden ratio (Knuth 6.4)."""
WALK = 8
"""Occupied slots that a probe passes in one event; they stay occupied, so no order is lost."""
AHEAD = 512
"""Clocks of empty slots that a scan passes in one event."""


# States: H hashing, S scanning a table, K copying dense arrays, D distribution, C cutting windows,
# L the first worker of a core between windows, X the DMA engine.
(
    H_ADD, H_ELEMENTS, H_VALUE_B, H_MULTIPLY, H_CAS, H_MATCH, H_SPIN, H_COUNT, H_PUBLISH, H_ENTRY,
    H_STEP, H_VALUE, H_POINTER, H_POINTER2, H_ELEMENT, H_START, H_TOKEN, H_SEARCH, H_FOUND, H_ROW,
    H_ROW2, H_ROW3, S_START, S_SCAN, S_FAR, S_EMIT, S_STORE, K_START, K_ENTRY, K_STORE, D_START,
    D_TOKEN, D_ROW, D_ROW2, D_ENTRIES, D_POINTER, D_POINTER2, D_ADD, D_STORE, C_START, C_CUT,
    C_OPEN, C_STORE, L_EMPTY, L_START, L_CLAIM, L_CLAIMED, L_GO, X_NEXT, X_FILLED, X_CHUNK,
) = range(51)  # fmt: skip


class Matrix(NamedTuple):
    """An operand by rows."""

    ptr: NDArray[np.int64]
    idx: NDArray[Any]
    val: NDArray[Any]


class Work(NamedTuple):
    """Windows, tables and the result of a hash kernel.

    Attributes:
        row_place: int64[m + 1], running sum of the rows' bounds.
        window_of: int64[m + 1], windows that begin before row i.
        begins: int64[windows + 1], first row of every window, then m.
        places: int64[windows + 1], place of its first entry in `z_key`.
        far: int64[windows], slots of a table in DRAM, or 0.
        sizes: int64[windows], out: entries.
        table: int64[slots, 2], tag + 1 and offset + 1 or value; scratchpads one after the other,
            then a DRAM table for each core; `table_v` views the values.
        z_key, z_val: out: entries of the result, window by window at `places`.
    """

    row_place: NDArray[np.int64]
    window_of: NDArray[np.int64]
    begins: NDArray[np.int64]
    places: NDArray[np.int64]
    far: NDArray[np.int64]
    sizes: NDArray[np.int64]
    table: NDArray[np.int64]
    table_v: NDArray[Any]
    z_key: NDArray[np.int64]
    z_val: NDArray[Any]
