"""The sparse online reduction engine: from a stream of weights to the N largest of every M.

`TopNSelector` is the streaming one: each lane is an insertion sorter as deep as N that takes one
weight a cycle, so a group of M takes M cycles and N comparators. `RankSelector` compares all pairs
of a group at once, M (M - 1) / 2 comparators a lane, and takes a whole group a cycle. Both give
the same beat: for every lane the kept values with their indices in ascending order, as compact
weights are stored, and the mask of kept positions, which the weight update needs.

The rule is that of `hwsim.models.nm`: magnitudes compare as the 15 bits below the sign of FP16,
which order like the values (a NaN above infinity), and of equal ones the lowest index wins.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.nm import MAX_M
from hwsim.rtl.stream import lockstep

__all__ = [
    "RANK_DEPTH",
    "RANK_LANE",
    "SORE_LANE",
    "RankLane",
    "RankSelector",
    "TopNLane",
    "TopNSelector",
    "selection_layout",
    "weights_layout",
]

SORE_LANE = "sore_lane"
RANK_LANE = "rank_lane"
"""Names of the modules that the lanes are instances of; Verilog holds each once."""

RANK_DEPTH = 3
"""Steps of a group through the rank selector: compare, rank, compact."""

_BITS = 16  # of a weight


def selection_layout(n_max: int, m: int) -> data.StructLayout:
    """What was selected of one lane's group.

    Fields: `value` n_max FP16 values, `index` their positions in the group of ceil(log2 M) bits,
    ascending; slots beyond those kept hold value 0 at index 0; `mask` one bit a position. Values
    and indices stand together at the low end: that many bits are the group's compact form.
    """
    return data.StructLayout(
        {
            "value": data.ArrayLayout(_BITS, n_max),
            "index": data.ArrayLayout(_index_bits(m), n_max),
            "mask": m,
        }
    )


def weights_layout(lanes: int) -> data.StructLayout:
    """What the streaming selector takes: a weight a lane, `last` closes a group short of M."""
    return data.StructLayout({"weight": data.ArrayLayout(_BITS, lanes), "last": 1})


class TopNLane(wiring.Component):
    """One lane of the streaming selector: an insertion sorter and its output register.

    Ports:
        n: N, 1 to `n_max`.
        accept: `weight` is taken, position `index` of its group.
        first: it is the group's first.
        move: the sorter's content becomes `out`, `selection_layout` packed.
    """

    def __init__(self, *, n_max: int, m: int) -> None:
        _check(1, n_max, m)
        self.n_max = n_max
        self.m = m
        super().__init__(
            {
                "n": In(range(n_max + 1)),
                "weight": In(_BITS),
                "index": In(_index_bits(m)),
                "first": In(1),
                "accept": In(1),
                "move": In(1),
                "out": Out(selection_layout(n_max, m).size),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = self._sorter(m)
        with m.If(self.move):
            self._load(m, entries)
        return m

    def _sorter(self, m: Module) -> list[_Entry]:
        """Entries in falling order of magnitude; a new weight goes before those it exceeds."""
        entries = [_Entry(_index_bits(self.m)) for _ in range(self.n_max)]
        new = _Entry(_index_bits(self.m))
        m.d.comb += [new.valid.eq(1), new.value.eq(self.weight), new.index.eq(self.index)]
        present, exceeds = [], []
        for j, entry in enumerate(entries):
            here, more = Signal(name=f"present{j}"), Signal(name=f"exceeds{j}")
            m.d.comb += [
                here.eq(entry.valid & ~self.first),  # a group's first weight finds empty entries
                more.eq(~here | (_magnitude(self.weight) > _magnitude(entry.value))),
            ]
            present.append(here)
            exceeds.append(more)
        with m.If(self.accept):
            for j, entry in enumerate(entries):
                with m.If(exceeds[j]):
                    if j == 0:
                        m.d.sync += entry.set(new, new.valid)
                    else:
                        with m.If(exceeds[j - 1]):
                            m.d.sync += entry.set(entries[j - 1], present[j - 1])
                        with m.Else():
                            m.d.sync += entry.set(new, new.valid)
        return entries

    def _load(self, m: Module, entries: list[_Entry]) -> None:
        """The first N entries into the output register, in ascending order of index."""
        kept = [entry.valid & (j < self.n) for j, entry in enumerate(entries)]
        before: list[list[Value]] = [[] for _ in entries]
        for j, a in enumerate(entries):
            for k in range(j):
                lower = Signal(name=f"lower{j}_{k}")
                m.d.comb += lower.eq(a.index < entries[k].index)
                before[k].append(kept[j] & lower)
                before[j].append(kept[k] & ~lower)
        mask: Value = Const(0, self.m)
        places = []
        for j, (keep, entry) in enumerate(zip(kept, entries, strict=True)):
            place = Signal(range(max(self.n_max, 2)), name=f"place{j}")
            m.d.comb += place.eq(_count(before[j]))
            places.append(place)
            mask = mask | (keep << entry.index)[: self.m]
        out = data.View(selection_layout(self.n_max, self.m), self.out)
        m.d.sync += out.mask.eq(mask)
        for slot in range(self.n_max):
            pair: Value = Const(0, _BITS + _index_bits(self.m))
            for keep, place, entry in zip(kept, places, entries, strict=True):
                here = keep & (place == slot)
                pair = pair | Mux(here, Cat(entry.value, entry.index), 0)
            m.d.sync += Cat(out.value[slot], out.index[slot]).eq(pair)


class RankLane(wiring.Component):
    """One lane of the rank selector, `RANK_DEPTH` registers from `weights` to `out`.

    Ports:
        n: N, 1 to `n_max`.
        en: the lane advances in this cycle.
        present: positions that hold weights, one step after `weights`.
        weights: M weights, packed.
        out: `selection_layout`, packed.
    """

    def __init__(self, *, n_max: int, m: int) -> None:
        _check(1, n_max, m)
        self.n_max = n_max
        self.m = m
        super().__init__(
            {
                "n": In(range(n_max + 1)),
                "en": In(1),
                "present": In(m),
                "weights": In(m * _BITS),
                "out": Out(selection_layout(n_max, m).size),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.m
        weights_0 = [self.weights.word_select(i, _BITS) for i in range(size)]
        weights_1, weights_2 = (
            [Signal(_BITS, name=f"w{stage}_{i}") for i in range(size)] for stage in (1, 2)
        )
        # wins[j][i], i < j: position i is at least as large, so it goes before j
        wins = [[Signal(name=f"wins{j}_{i}") for i in range(j)] for j in range(size)]
        keep = Signal(size)
        with m.If(self.en):
            for j in range(size):
                m.d.sync += [
                    weights_1[j].eq(weights_0[j]),
                    weights_2[j].eq(weights_1[j]),
                    keep[j].eq(self.present[j] & (self._rank(wins, j) < self.n)),
                ]
                for i in range(j):
                    more = _magnitude(weights_0[i]) >= _magnitude(weights_0[j])
                    m.d.sync += wins[j][i].eq(more)
            self._load(m, keep, weights_2)
        return m

    def _rank(self, wins: list[list[Signal]], j: int) -> Value:
        """How many weights go before position j."""
        before: list[Value] = [wins[j][i] for i in range(j)]
        after = [self.present[k] & ~wins[k][j] for k in range(j + 1, self.m)]
        # those before j in the group are present when j is
        return _count([*before, *after])

    def _load(self, m: Module, keep: Value, weights: list[Signal]) -> None:
        """The kept weights into the output register: the s-th kept one into slot s."""
        out = data.View(selection_layout(self.n_max, self.m), self.out)
        m.d.sync += out.mask.eq(keep)
        places = []
        for i in range(self.m):
            place = Signal(range(self.m + 1), name=f"place{i}")
            m.d.comb += place.eq(_count([keep[j] for j in range(i)]))
            places.append(place)
        index_bits = _index_bits(self.m)
        for slot in range(self.n_max):
            pair: Value = Const(0, _BITS + index_bits)
            # the s-th kept one stands at position s or later
            for i in range(slot, self.m):
                here = keep[i] & (places[i] == slot)
                pair = pair | Mux(here, Cat(weights[i], Const(i, index_bits)), 0)
            m.d.sync += Cat(out.value[slot], out.index[slot]).eq(pair)


class TopNSelector(wiring.Component):
    """Streaming top-N selectors, `lanes` side by side; instantiates `SORE_LANE`.

    Args:
        lanes: groups reduced at once.
        n_max: the largest N, entries of a sorter.
        m: the group's length M; 1 <= n_max <= m <= 32.

    Ports:
        n: N, 1 to `n_max`; constant from a group's first weight until its selection is out.
        i: beats of one weight for every lane; `last` closes a group that is shorter than M.
        o: one beat a group, `selection_layout` for every lane.

    Latency: a selection is on `o` two cycles after its last weight was taken. Throughput: a weight
    a lane and cycle without a bubble between groups; the sorter holds one finished group while `o`
    holds another.

    Raises:
        ValueError: lanes < 1, or 1 <= n_max <= m <= 32 does not hold.
    """

    def __init__(self, *, lanes: int, n_max: int, m: int) -> None:
        _check(lanes, n_max, m)
        self.lanes = lanes
        self.m = m
        super().__init__(_members(lanes, n_max, m, weights_layout(lanes)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(max(self.m, 2)))  # weights of the group so far
        full = Signal()  # the sorters hold a finished group
        accept, move = Signal(), Signal()
        m.d.comb += [
            move.eq(full & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(~full | move),
            accept.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(move):
            m.d.sync += [full.eq(0), self.o.valid.eq(1)]
        with m.If(accept):
            m.d.sync += count.eq(count + 1)
            with m.If(self.i.payload.last | (count == self.m - 1)):
                m.d.sync += [count.eq(0), full.eq(1)]
        for lane in range(self.lanes):
            m.submodules[f"lane{lane}"] = Instance(
                SORE_LANE,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_n=self.n,
                i_weight=self.i.payload.weight[lane],
                i_index=count,
                i_first=count == 0,
                i_accept=accept,
                i_move=move,
                o_out=self.o.payload[lane].as_value(),
            )
        return m


class RankSelector(wiring.Component):
    """One-cycle selectors that compare all pairs, `lanes` side by side; instantiates `RANK_LANE`.

    Args:
        lanes: groups selected at once.
        n_max: the largest N.
        m: the group's length M; 1 <= n_max <= m <= 32.

    Ports:
        n: N, 1 to `n_max`; constant while groups are in flight.
        i: beats of one group for every lane; `length` of its positions hold weights.
        o: one beat a group, `selection_layout` for every lane.

    Latency: `RANK_DEPTH` steps. Throughput: a group a lane and step.

    Raises:
        ValueError: lanes < 1, or 1 <= n_max <= m <= 32 does not hold.
    """

    def __init__(self, *, lanes: int, n_max: int, m: int) -> None:
        _check(lanes, n_max, m)
        self.lanes = lanes
        self.m = m
        weights = data.ArrayLayout(data.ArrayLayout(_BITS, m), lanes)
        groups = data.StructLayout({"weight": weights, "length": range(m + 1)})
        super().__init__(_members(lanes, n_max, m, groups))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = lockstep(m, self.i, self.o, RANK_DEPTH)
        present = Signal(self.m)
        with m.If(en):
            m.d.sync += present.eq(Cat(i < self.i.payload.length for i in range(self.m)))
        for lane in range(self.lanes):
            m.submodules[f"lane{lane}"] = Instance(
                RANK_LANE,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_n=self.n,
                i_en=en,
                i_present=present,
                i_weights=self.i.payload.weight[lane].as_value(),
                o_out=self.o.payload[lane].as_value(),
            )
        return m


class _Entry:
    """A place of a sorter."""

    def __init__(self, index_bits: int) -> None:
        self.valid = Signal(name="entry_valid")
        self.value = Signal(_BITS, name="entry_value")
        self.index = Signal(index_bits, name="entry_index")

    def set(self, other: _Entry, valid: Value) -> list[Any]:
        return [
            self.valid.eq(valid),
            self.value.eq(other.value),
            self.index.eq(other.index),
        ]


def _magnitude(weight: Value) -> Value:
    return weight[: _BITS - 1]


def _count(bits: list[Any]) -> Value:
    """How many bits are set, by a tree of adders no wider than they must be."""
    if len(bits) < 2:
        return Value.cast(bits[0]) if bits else Const(0, 1)
    half = len(bits) // 2
    return _count(bits[:half]) + _count(bits[half:])


def _members(lanes: int, n_max: int, m: int, payload: data.StructLayout) -> dict[str, Member]:
    selections = data.ArrayLayout(selection_layout(n_max, m), lanes)
    return {
        "n": In(range(n_max + 1)),
        "i": In(stream.Signature(payload)),
        "o": Out(stream.Signature(selections)),
    }


def _index_bits(m: int) -> int:
    return max(1, (m - 1).bit_length())


def _check(lanes: int, n_max: int, m: int) -> None:
    if lanes < 1:
        raise ValueError(f"lanes >= 1 must hold, but got {lanes}")
    if not 1 <= n_max <= m <= MAX_M:
        raise ValueError(f"1 <= n_max <= m <= {MAX_M} must hold, but got n_max={n_max}, m={m}")
