"""Pipeline registers at chosen places of a combinational function.

A function written with `cut` at its natural boundaries serves every latency: the caller says which
boundaries hold a register. All registers advance together with one enable, so that a stalled
pipeline holds its contents.
"""

from __future__ import annotations

from collections.abc import Collection

from amaranth.hdl import Module, Signal, Value

__all__ = ["Pipeline"]


class Pipeline:
    """Registers for the boundaries of one function.

    Args:
        m: the module under construction.
        en: the pipeline advances in this cycle.
        cuts: numbers, from 0, of the boundaries that hold a register.
        last: registers behind the result.
    """

    def __init__(self, m: Module, en: Value, cuts: Collection[int] = (), last: int = 0) -> None:
        self.m = m
        self.en = en
        self.cuts = frozenset(cuts)
        self.last = last
        self._boundary = 0
        self.entering: Value | None = None
        """What the result's last register takes in: the result one step early."""

    @property
    def latency(self) -> int:
        """Steps from operands to result."""
        return len(self.cuts) + self.last

    def cut(self, *values: Value) -> tuple[Value, ...]:
        """The next boundary: all that later stages need of the earlier ones."""
        here = self._boundary
        self._boundary += 1
        if here not in self.cuts:
            return values
        return tuple(self._register(v, f"cut{here}_{i}") for i, v in enumerate(values))

    def result(self, value: Value) -> Value:
        """The function's result, behind its last registers."""
        for i in range(self.last):
            self.entering = value
            value = self._register(value, f"last{i}")
        return value

    def _register(self, value: Value, name: str) -> Signal:
        # data: what it holds before the first operands arrive is never used
        register = Signal(value.shape(), name=f"pipe_{name}", reset_less=True)
        with self.m.If(self.en):
            self.m.d.sync += register.eq(value)
        return register
