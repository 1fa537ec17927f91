"""Performance counters of 64 bits that are read as two words over a bus of 32."""

from __future__ import annotations

from collections.abc import Mapping

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CounterBank"]


class CounterBank(wiring.Component):
    """The counters.

    An increment is registered, then added to the lower half, whose carry moves the upper half one
    cycle later: no carry chain is longer than 32 bits. So a counter is right three cycles after the
    last increment, and the upper half of a cycle fits the lower half of the cycle before; `shadow`
    takes it then, so that two reads give one number although the counter runs on.

    Args:
        widths: name -> bits of its increment.

    Ports:
        add_{i}: increment of counter i in this cycle.
        low_{i}: lower half.
        clear: all to 0.
        capture: the lower half of counter `which` is read in this cycle.
        shadow: the upper half that belongs to it, from the second cycle after.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        self.widths = dict(widths)
        count = len(self.widths)
        members = {
            "clear": In(1),
            "capture": In(1),
            "which": In(range(max(count, 2))),
            "shadow": Out(32),
        }
        for i, bits in enumerate(self.widths.values()):
            members[f"add_{i}"] = In(bits)
            members[f"low_{i}"] = Out(32)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        highs = []
        for i, (name, bits) in enumerate(self.widths.items()):
            tag = name.replace(".", "_")
            step = Signal(bits, name=f"{tag}_step")
            carry = Signal(name=f"{tag}_carry")
            high = Signal(32, name=f"{tag}_high")
            low = getattr(self, f"low_{i}")
            m.d.sync += [
                step.eq(getattr(self, f"add_{i}")),
                Cat(low, carry).eq(low + step),
                high.eq(high + carry),
            ]
            with m.If(self.clear):
                m.d.sync += [step.eq(0), low.eq(0), carry.eq(0), high.eq(0)]
            highs.append(high)
        captured, which = Signal(), Signal.like(self.which)
        m.d.sync += [captured.eq(self.capture), which.eq(self.which)]
        with m.If(captured):
            m.d.sync += self.shadow.eq(Array(highs)[which])
        return m
