"""The N:M selectors against a plain statement of what a selection is, for all weights.

The statement, `is_selection`, is declarative and shares nothing with the circuits, which sort or
count: of the present positions min(N, length) are kept; a kept one is larger in magnitude than one
that is not, or equal and before it; the kept values stand in ascending order of position with
their indices, and zeros fill the slots behind them.

Both proofs are inductive with the lanes' registers in view: what the sorter's entries or the
pipeline's stages must hold is asserted too. `SorterHarness` plays what `TopNSelector` does around a
lane: groups of 1 to M weights with any stalls, the next group's first weight at the earliest in the
cycle in which the last group is moved out.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cover, Fragment, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hwsim.rtl.sore import RankLane, TopNLane, selection_layout

__all__ = ["RankHarness", "SorterHarness", "is_selection"]

_BITS = 16


def is_selection(selection: Any, weights: list[Value], length: Value, n: Value) -> Value:
    """One bit: `selection` is what must be kept of the first `length` of `weights`.

    Args:
        selection: a view of `selection_layout`.
        weights: M of them.
        length: how many are present, 0 to M.
        n: N.
    """
    size = len(weights)
    present = [length > i for i in range(size)]
    kept = [selection.mask[i] for i in range(size)]
    want = Mux(length < n, length, n)
    good: Value = sum(kept, start=Value.cast(0)) == want
    for i in range(size):
        good &= present[i] | ~kept[i]
        for j in range(size):
            if i != j:
                larger = weights[i][:-1] > weights[j][:-1]
                equal = weights[i][:-1] == weights[j][:-1]
                before = larger | (equal if i < j else 0)
                good &= before | ~(kept[i] & ~kept[j] & present[j])
    slots = len(selection.value)
    for s in range(slots):
        value, index = selection.value[s], selection.index[s]
        used = want > s
        good &= Mux(
            used,
            (value == Array(weights)[index]) & Array(kept)[index] & (index < size),
            (value == 0) & (index == 0),
        )
        if s:
            good &= ~used | (index > selection.index[s - 1])
    return good


class SorterHarness(wiring.Component):
    """`TopNLane` in every use that its selector makes of it.

    Args:
        n_max, m: sizes of the lane.
        reach: instead of the proof, cover a full group whose selection follows another's.
    """

    def __init__(self, n_max: int, m: int, *, reach: bool = False) -> None:
        self.lane = _SorterLane(n_max=n_max, m=m)
        self.n_max = n_max
        self.m = m
        self.reach = reach
        super().__init__(
            {"n": In(range(n_max + 1)), "weight": In(_BITS), "accept": In(1), "move": In(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane
        size = self.m
        weights = [Signal(_BITS, name=f"weight{i}") for i in range(size)]
        length = Signal(range(size + 1))  # weights of the group in the sorter
        m.d.comb += [
            Assume((self.n >= 1) & (self.n <= self.n_max)),
            Assume(~self.move | (length != 0)),
            Assume(~self.accept | self.move | (length != size)),
            lane.n.eq(self.n),
            lane.weight.eq(self.weight),
            lane.accept.eq(self.accept),
            lane.move.eq(self.move),
        ]
        at = Signal(range(size + 1))  # where this cycle's weight goes
        m.d.comb += [
            at.eq(Mux(self.move, 0, length)),
            lane.first.eq(at == 0),
            lane.index.eq(at),
        ]
        with m.If(self.move):
            m.d.sync += length.eq(0)
        with m.If(self.accept):
            m.d.sync += length.eq(at + 1)
            for i in range(size):
                with m.If(at == i):
                    m.d.sync += weights[i].eq(self.weight)

        moved = [Signal(_BITS, name=f"moved{i}") for i in range(size)]
        moved_length, moved_n = Signal.like(length), Signal.like(self.n)
        groups = Signal(2)
        with m.If(self.move):
            m.d.sync += [
                moved_length.eq(length),
                moved_n.eq(self.n),
                groups.eq(Mux(groups == 3, 3, groups + 1)),
                *(one.eq(weight) for one, weight in zip(moved, weights, strict=True)),
            ]
        out = data.View(selection_layout(self.n_max, size), lane.out)
        if self.reach:
            m.d.comb += Cover((groups == 2) & (moved_length == size) & out.value[0].any())
            return m
        m.d.comb += Assert(~groups.any() | is_selection(out, moved, moved_length, moved_n))
        m.d.comb += Assert(length <= size)
        # what makes it inductive: entry r holds the weight that r others go before
        for r, entry in enumerate(lane.entries()):
            m.d.comb += Assert((length == 0) | (entry.valid == (length > r)))
            for i in range(size):
                here = (length > i) & (_rank(weights, length, i) == r)
                m.d.comb += Assert(~here | ((entry.value == weights[i]) & (entry.index == i)))
        return m


class RankHarness(wiring.Component):
    """`RankLane`: a group every step, any stalls, N constant.

    Args:
        n_max, m: sizes of the lane.
    """

    def __init__(self, n_max: int, m: int) -> None:
        self.lane = _RankLane(n_max=n_max, m=m)
        self.n_max = n_max
        self.m = m
        super().__init__(
            {
                "n": In(range(n_max + 1)),
                "en": In(1),
                "length": In(range(m + 1)),
                "weights": In(_BITS * m),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.lane = lane = self.lane
        size = self.m
        n = Signal.like(self.n)  # constant: taken in the first cycle
        begun = Signal()
        first: list[Value] = [self.weights.word_select(i, _BITS) for i in range(size)]
        stages = [[Signal(_BITS, name=f"stage{s}_{i}") for i in range(size)] for s in range(3)]
        lengths = [Signal(range(size + 1), name=f"length{s}") for s in range(3)]
        m.d.sync += [begun.eq(1), n.eq(self.n)]
        m.d.comb += [
            Assume((self.n >= 1) & (self.n <= self.n_max) & (~begun | (n == self.n))),
            Assume(self.length <= size),
            lane.n.eq(self.n),
            lane.en.eq(self.en),
            lane.weights.eq(self.weights),
            *(lane.present[i].eq(lengths[0] > i) for i in range(size)),
        ]
        with m.If(self.en):
            for s in range(3):
                before = stages[s - 1] if s else first
                m.d.sync += lengths[s].eq(lengths[s - 1] if s else self.length)
                m.d.sync += [one.eq(w) for one, w in zip(stages[s], before, strict=True)]
        out = data.View(selection_layout(self.n_max, size), lane.out)
        steps = Signal(2)  # groups have come through to the output
        with m.If(self.en & (steps != 3)):
            m.d.sync += steps.eq(steps + 1)
        m.d.comb += Assert((steps != 3) | is_selection(out, stages[2], lengths[2], n))
        # what makes it inductive: the stages hold what the harness holds
        m.d.comb += [Assert(length <= size) for length in lengths]
        m.d.comb += Assert(begun | (steps == 0))
        m.d.comb += Assert(~begun | ((n >= 1) & (n <= self.n_max)))
        for j in range(size):
            for s in (1, 2):
                m.d.comb += Assert((steps < s) | (lane.registers[f"w{s}_{j}"] == stages[s - 1][j]))
            for i in range(j):
                wins = stages[0][i][:-1] >= stages[0][j][:-1]
                m.d.comb += Assert((steps < 1) | (lane.registers[f"wins{j}_{i}"] == wins))
            kept = (lengths[1] > j) & (_rank(stages[1], lengths[1], j) < n)
            m.d.comb += Assert((steps < 2) | (lane.registers["keep"][j] == kept))
        return m


class _SorterLane(TopNLane):
    """A lane whose entries can be seen."""

    def elaborate(self, platform: object) -> Fragment:
        return self.elaborated

    @cached_property
    def elaborated(self) -> Fragment:
        return Fragment.get(super().elaborate(None), None)

    def entries(self) -> list[Any]:
        """Its entries: `valid`, `value`, `index` of each."""
        assert self.elaborated is not None  # `_sorter` has run
        return self._entries

    def _sorter(self, m: Module) -> list[Any]:
        self._entries = super()._sorter(m)
        return self._entries


class _RankLane(RankLane):
    """A lane whose registers can be seen by name."""

    def elaborate(self, platform: object) -> Fragment:
        return self.elaborated

    @cached_property
    def elaborated(self) -> Fragment:
        return Fragment.get(super().elaborate(None), None)

    @cached_property
    def registers(self) -> dict[str, Signal]:
        """By name."""
        return {
            signal.name: signal
            for statement in self.elaborated.statements["sync"]
            for signal in statement._lhs_signals()
        }


def _rank(weights: list[Signal], length: Value, i: int) -> Value:
    """How many of the present weights go before weight i."""
    before: list[Value] = []
    for j, other in enumerate(weights):
        if j < i:
            before.append((length > j) & (other[:-1] >= weights[i][:-1]))
        elif j > i:
            before.append((length > j) & (other[:-1] > weights[i][:-1]))
    return sum(before, start=Value.cast(0))
