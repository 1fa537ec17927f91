"""Stream pipelines that advance or stand still as a whole, as the array does.

One enable moves every register: a cycle is a step unless a result waits at the output and is not
taken. Cycles without an input travel through as bubbles, so the last beats leave without any that
follow. `hwsim.dataflows.stream.pipeline_timeline` counts the cycles, exactly.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, ValueLike

__all__ = ["Delay", "delay", "lockstep"]


def lockstep(m: Module, i: Any, o: Any, depth: int) -> Signal:
    """Handshake of a pipeline with `depth` >= 1 registers from `i` to `o`; returns its enable.

    A beat taken at `i` must stand in the register behind `o`'s payload `depth` steps later.

    Raises:
        ValueError: `depth` is below 1.
    """
    if depth < 1:
        raise ValueError(f"depth >= 1 must hold, but got {depth}")
    en = Signal(name="step")
    valid = Signal(depth, name="stage_valid")
    m.d.comb += [
        en.eq(o.ready | ~valid[-1]),
        i.ready.eq(en),
        o.valid.eq(valid[-1]),
    ]
    with m.If(en):
        m.d.sync += valid.eq(Cat(i.valid, valid))
    return en


def delay(m: Module, en: Value, value: ValueLike, steps: int, name: str) -> Value:
    """`value` as it was `steps` steps ago."""
    return Delay(m, en)(value, steps, name)


class Delay:
    """Shift registers that advance with one enable.

    Args:
        m: the module under construction.
        en: the registers advance in this cycle.
        reset: they are reset; data, which flags say when to use, need not be, and a reset that
            reaches every register costs more wires than the data.
    """

    def __init__(self, m: Module, en: Value, *, reset: bool = True) -> None:
        self.m = m
        self.en = en
        self.reset = reset

    def __call__(self, value: ValueLike, steps: int, name: str) -> Value:
        """`value` as it was `steps` steps ago."""
        return self.taps(value, steps, 1, name)[0]

    def taps(self, value: ValueLike, start: int, count: int, name: str) -> list[Value]:
        """`value` as it was start, start + 1, ... start + count - 1 steps ago, from one chain."""
        here = Value.cast(value)
        chain = [here]
        for i in range(start + count - 1):
            register = Signal(len(here), name=f"{name}_d{i + 1}", reset_less=not self.reset)
            with self.m.If(self.en):
                self.m.d.sync += register.eq(here)
            here = register
            chain.append(here)
        return chain[start:]
