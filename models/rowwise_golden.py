"""What the row-wise engine leaves in its tables, slow and obvious: one lane, plain Python.

One lane forms the products of a window in the order of the matrices, so each bank meets them in
that order: which slots are looked at, which entry comes when, the order of the sums and so every
bit of a float follow without any cycle. With more lanes the order of arrival depends on timing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.rowwise import RowwiseShape, hash_place
from hwsim.models.sparse import Csr

__all__ = ["GoldenWindow", "golden_windows"]

Entry = tuple[int, int, Any]
"""Row of A, column, value."""


@dataclass(kw_only=True)
class GoldenWindow:
    """A window's outcome.

    Attributes:
        entries: of each bank, its entries in the order in which they were inserted.
        spilled: of each bank, the products that found no slot, in order.
        multiplies, skipped, probes, inserts, accumulates: counts.
    """

    entries: list[list[Entry]]
    spilled: list[list[Entry]]
    multiplies: int = 0
    skipped: int = 0
    probes: int = 0
    inserts: int = 0
    accumulates: int = 0
    slots: list[dict[int, int]] = field(default_factory=list)


def golden_windows(
    shape: RowwiseShape, a: Csr, b: Csr, starts: NDArray[np.int64]
) -> list[GoldenWindow]:
    """The windows of C = A B, one product after the other.

    Args:
        shape: the engine; its lanes do not matter here.
        a, b: operands of the engine's value type.
        starts: first row of each window and the end.
    """
    out = []
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        window = GoldenWindow(
            entries=[[] for _ in range(shape.banks)],
            spilled=[[] for _ in range(shape.banks)],
            slots=[{} for _ in range(shape.banks)],
        )
        for i in range(first, end):
            for p in range(a.indptr[i], a.indptr[i + 1]):
                k = int(a.indices[p])
                row = range(b.indptr[k], b.indptr[k + 1])
                window.skipped += not row
                for q in row:
                    value = _multiply(a.data[p], b.data[q])
                    _insert(shape, window, i - first, (i, int(b.indices[q]), value))
        out.append(window)
    return out


def _insert(shape: RowwiseShape, window: GoldenWindow, local: int, product: Entry) -> None:
    row, column, value = product
    bank, slot = (int(x) for x in hash_place(shape, np.array(local), np.array(column)))
    slots, entries = window.slots[bank], window.entries[bank]
    window.multiplies += 1
    for _ in range(shape.probe_limit):
        window.probes += 1
        if slot not in slots:
            slots[slot] = len(entries)
            entries.append(product)
            window.inserts += 1
            return
        offset = slots[slot]
        if entries[offset][:2] == (row, column):
            entries[offset] = (row, column, _add(entries[offset][2], value))
            window.accumulates += 1
            return
        slot = (slot + 1) % shape.entries
    window.spilled[bank].append(product)


def _multiply(x: Any, y: Any) -> Any:
    if isinstance(x, np.floating):
        with np.errstate(all="ignore"):
            return x * y
    return _wrap(int(x) * int(y))


def _add(x: Any, y: Any) -> Any:
    if isinstance(x, np.floating):
        with np.errstate(all="ignore"):
            return x + y
    return _wrap(int(x) + int(y))


def _wrap(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31
