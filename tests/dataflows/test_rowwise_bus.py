"""The read channel that the row-wise engine's ports share, against a slow one, word by word."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.rowwise_bus import (
    B,
    BusMemory,
    answered,
    ask,
    bus_state,
    step_bus,
    word_is_there,
)
from hwsim.dataflows.rowwise_ports import ELEMENT_BYTES, POINTER_BYTES
from hwsim.dataflows.rowwise_sim import MemoryLatency, simulate
from hwsim.models import spgemm_jobs
from hwsim.models.rowwise import row_bound, windows
from hwsim.models.sparse import Csr

SIZES = (POINTER_BYTES, ELEMENT_BYTES, POINTER_BYTES, ELEMENT_BYTES, ELEMENT_BYTES)


class SlowBus:
    """The law, one word at a time; clients as in the module, two lanes."""

    def __init__(self, bus):
        self.bus = bus
        self.waiting = [deque() for _ in SIZES]  # bursts: (grant from, words)
        self.there = [deque() for _ in SIZES]  # cycle in which each word is at the port
        self.asked = [0] * len(SIZES)
        self.base = [0] * len(SIZES)
        self.next = [0] * len(SIZES)
        self.credits = deque([-1] * bus.outstanding)
        self.turn = self.free = 0
        self.since = [0] * len(SIZES)

    def ask(self, client, t, start, length):
        word, block = self.bus.word_bytes, self.bus.block_bytes
        size = SIZES[client]
        words = range(start * size // word, ((start + length) * size - 1) // word + 1)
        burst = []
        for w in words:
            if burst and w * word % block == 0:
                self.waiting[client].append((t + self.bus.ahead, len(burst)))
                burst = []
            burst.append(w)
        self.waiting[client].append((t + self.bus.ahead, len(burst)))

    def step(self, t):
        if self.credits[0] > t:
            return
        a_ptr, a, b_ptr, b = self.bus.queue_words
        room = (a_ptr, a, b_ptr, b, b)
        for i in range(len(SIZES)):
            client = (self.turn + i) % len(SIZES)
            if not self.waiting[client] or max(self.waiting[client][0][0], self.since[client]) > t:
                continue
            words = self.waiting[client][0][1]
            if self.asked[client] - self.next[client] + words > room[client]:
                continue
            self.waiting[client].popleft()
            self.asked[client] += words
            self.since[client] = t + self.bus.spacing
            for _ in range(words):
                self.free = max(self.free, t + self.bus.address + self.bus.latency) + 1
                self.there[client].append(self.free - 1 + self.bus.behind)
            self.credits.popleft()
            self.credits.append(self.free - 1 + self.bus.done)
            self.turn = (client + 1) % len(SIZES)
            return

    def is_there(self, client, t, start, element):
        word, size = self.bus.word_bytes, SIZES[client]
        at = self.base[client] + ((start + element + 1) * size - 1) // word - start * size // word
        self.next[client] = at
        return at < len(self.there[client]) and t >= self.there[client][at]

    def answered(self, client, start, length):
        word, size = self.bus.word_bytes, SIZES[client]
        self.base[client] += ((start + length) * size - 1) // word - start * size // word + 1
        self.next[client] = self.base[client]


@pytest.mark.parametrize("word", [4, 8, 32])
def test_every_element_comes_in_the_cycle_of_the_slow_bus(word):
    rng = np.random.default_rng(word)
    for _ in range(6):
        bus = BusMemory(
            word_bytes=word,
            block_bytes=word * int(rng.choice([1, 4])),
            outstanding=int(rng.integers(1, 5)),
            latency=int(rng.integers(0, 12)),
            ahead=4,
            spacing=int(rng.integers(1, 4)),
            address=int(rng.integers(1, 4)),
            behind=4,
            done=2,
            queue_words=tuple(int(x) for x in rng.integers(8, 20, 4)),
        )
        fast, slow = bus_state(bus, 2, 8), SlowBus(bus)
        under_way = [deque() for _ in SIZES]
        at = [0] * len(SIZES)
        passed = 0
        for t in range(400):
            step_bus(fast, t)
            slow.step(t)
            for client, size in enumerate(SIZES):
                if under_way[client] and rng.integers(0, 4):
                    start, length = under_way[client][0]
                    there = word_is_there(fast, client, t, start, at[client], size)
                    assert there == slow.is_there(client, t, start, at[client])
                    if there:
                        passed += 1
                        at[client] += 1
                        if at[client] == length:
                            answered(fast, client, start, length, size)
                            slow.answered(client, start, length)
                            under_way[client].popleft()
                            at[client] = 0
                if len(under_way[client]) < 8 and rng.random() < 0.3:
                    start, length = int(rng.integers(0, 99)), int(rng.integers(1, 20))
                    ask(fast, client, t, start, length, size)
                    slow.ask(client, t, start, length)
                    under_way[client].append((start, length))
        assert passed > 20


def test_values_do_not_depend_on_the_bus_and_cycles_have_its_bounds():
    config = load_config("spgemm", ["lanes=2", "banks=4", "entries=32", "format=int32"])
    rng = np.random.default_rng(3)
    rows, columns = np.nonzero(rng.random((40, 40)) < 0.15)
    a = Csr.from_coo((40, 40), rows, columns, rng.integers(-9, 9, rows.size).astype(np.int32))
    starts = windows(row_bound(a.indptr, a.indices, a.indptr, 40), 64, 16)

    def cycles(outstanding, latency):
        bus = BusMemory(
            word_bytes=8, block_bytes=128, outstanding=outstanding, latency=latency, ahead=4,
            spacing=2, address=3, behind=4, done=2, queue_words=(32, 64, 64, 64),
        )  # fmt: skip
        return simulate(config.shape, a, a, starts, bus=bus)

    plain = simulate(config.shape, a, a, starts, latency=MemoryLatency())
    runs = {given: cycles(*given) for given in ((1, 20), (8, 20), (8, 0), (64, 20))}
    order = np.lexsort((plain.column, plain.row, plain.window))
    for run in runs.values():
        mine = np.lexsort((run.column, run.row, run.window))
        kept = plain.column[order] >= 0
        assert np.array_equal(run.value[mine][kept], plain.value[order][kept])
        assert run.cycles > plain.cycles
        assert run.cycles > np.diff(a.indptr)[a.indices].sum()  # a word for each product
    assert runs[1, 20].cycles > 2 * runs[8, 20].cycles
    assert runs[8, 20].cycles > runs[8, 0].cycles
    assert runs[8, 20].cycles > runs[64, 20].cycles


def test_sizes_of_elements_are_those_of_the_memory_image():
    assert (POINTER_BYTES, ELEMENT_BYTES) == (
        spgemm_jobs.POINTER_BYTES,
        spgemm_jobs.ELEMENT_BYTES,
    )
    assert bus_state(None, 3, 5).clients.shape[0] == B + 3
