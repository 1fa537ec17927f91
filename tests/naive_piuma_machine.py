"""The machine of `naive_piuma`: clock, mesh, DRAM, pipelines; scratchpad, cache, DMA engine."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from types import SimpleNamespace

import numpy as np

from hwsim.dataflows.piuma import cut_windows, mesh
from hwsim.models.spgemm import row_multiplies

__all__ = [
    "ASLEEP",
    "TAGS",
    "WORD_COUNT",
    "WORD_ROWS",
    "WORD_TOKEN",
    "WORD_WINDOW",
    "Core",
    "Machine",
]

TICKS = 1 << 16
ALIGN = 1 << 16
WORD_WINDOW, WORD_TOKEN, WORD_COUNT, WORD_ROWS, TAGS = 0, 1, 2, 3, 64
ASLEEP = None
"""Yielded by a program that somebody else will resume."""


def _lists(x):
    """Plain integers instead of an array's, which would overflow."""
    return SimpleNamespace(
        shape=x.shape, indptr=x.indptr.tolist(), indices=x.indices.tolist(), data=x.data
    )


class Machine:
    def __init__(self, a, b, die, costs, make_core):
        self.a, self.b, self.die, self.cost = _lists(a), _lists(b), die, SimpleNamespace(**costs)
        self.now, self.end, self.serial = 0, 0, 0
        self.events, self.counts, self.moved, self.entries = [], Counter(), Counter(), {}
        self.bounds = np.minimum(row_multiplies(a, b), b.shape[1])
        self.before = np.r_[0, np.cumsum(self.bounds)]
        self.windows = cut_windows(self.bounds, die)
        self.row_token = min(die.row_token, max(1, a.shape[0] // (2 * die.cores * die.workers)))
        self.bits = max(b.shape[1] - 1, 1).bit_length()
        self.claimed_rows = self.claimed_windows = self.arrived = self.cut = 0
        self._lay_out(a, b)
        self.routes, self.places, links, self.longest = mesh(die)
        self.links = [[0] * links, [0] * links]  # requests, responses
        self.channels = [0] * die.channels
        rate = die.dram_bytes_per_cycle
        self.ticks = 0 if rate is None else round(TICKS * die.burst_bytes * die.channels / rate)
        self.cores = [make_core(self, c) for c in range(die.cores)]

    def _lay_out(self, a, b):
        """Addresses: the operands, then what the kernel adds, each at a multiple of ALIGN."""
        at, self.address = 0, {}
        self.value = a.data.dtype.itemsize
        self.index = max(a.indices.dtype.itemsize, b.indices.dtype.itemsize)
        sizes = []
        for name, x in (("a", a),) if b is a else (("a", a), ("b", b)):
            sizes += [
                (name + "_pointer", self.index * (x.shape[0] + 1)),
                (name + "_index", self.index * x.nnz),
                (name + "_value", self.value * x.nnz),
            ]
        far, count = int(self.windows.far.max(initial=0)), len(self.windows.far)
        sizes += [
            ("bound", 8 * a.shape[0]),
            ("window", 32 * count),
            ("z", int(self.windows.places[-1]) * (8 + self.value)),
            ("table", 16 * far * self.die.cores),
        ]
        for name, size in sizes:
            self.address[name] = at
            at = -(-(at + size) // ALIGN) * ALIGN
        for part in ("_pointer", "_index", "_value"):
            self.address.setdefault("b" + part, self.address["a" + part])
        self.far_slots = far

    def claim(self, name):
        """Fetch-add."""
        value = getattr(self, name)
        setattr(self, name, value + 1)
        return value

    def adder(self, key, product):
        def effect():
            self.entries[key] = self.entries.get(key, 0) + product

        return effect

    # ---- time

    def at(self, time, call):
        """Calls at `time`; at once if that is now."""
        if time <= self.now:
            call()
            return
        self.serial += 1
        heapq.heappush(self.events, (time, self.serial, call))

    def run(self):
        for core in self.cores:
            core.start()
        pipes = [pipe for core in self.cores for pipe in core.pipes]
        while True:
            while self.events and self.events[0][0] == self.now:
                heapq.heappop(self.events)[2]()
            busy = [pipe.issue() for pipe in pipes]
            if any(busy):
                self.now += 1
            elif self.events:
                self.now = self.events[0][0]
            else:
                break
        assert all(core.done for core in self.cores)
        self.end = max([self.end, *(-(-t // TICKS) for t in self.channels)])

    # ---- mesh and DRAM

    def travel(self, source, target, net, size, arrived):
        """A packet goes from router to router; `arrived` is called when its tail is there."""
        die = self.die
        beats = -(-(size + die.header_bytes) // die.link_bytes)
        route = self.routes[source * die.mesh_columns * die.mesh_rows + target]
        path = deque(route[1 : 1 + route[0]].tolist())

        def hop():
            if not path:
                self.at(self.now + beats - 1, arrived)
                return
            link = path.popleft()
            leaves = max(self.now, self.links[net][link])
            self.links[net][link] = leaves + beats
            self.at(leaves + die.hop_cycles, hop)

        hop()

    def dram(self, core, address, size, read, write, done=None, begun=None):
        """An access to DRAM: `begun(time)` once it is known when its channel begins it,
        `done()` when the answer is back."""
        die = self.die
        channel = (address // die.interleave_bytes) % die.channels
        here, there = self.places[0, core], self.places[1, channel % die.cores]
        bursts = -(-(address % die.burst_bytes + size) // die.burst_bytes)

        def served():
            begin = max(self.now * TICKS, self.channels[channel])
            self.channels[channel] = begin + (read + write) * bursts * self.ticks
            self.moved["read"] += read * bursts * die.burst_bytes
            self.moved["write"] += write * bursts * die.burst_bytes
            if begun:
                begun(begin // TICKS)
            if done:
                back = -(-self.channels[channel] // TICKS) + die.dram_latency
                self.at(back, lambda: self.travel(there, here, 1, size, done))

        self.travel(here, there, 0, size if write else 0, served)


class _Thread:
    def __init__(self, machine, pipe, step):
        self.machine, self.pipe, self.step = machine, pipe, step
        self.instruction = ASLEEP
        pipe.threads.append(self)

    def resume(self, value=None):
        """The last instruction is done: what is the next one?"""
        try:
            self.instruction = self.program.send(value)
        except StopIteration:
            self.machine.end = max(self.machine.end, self.machine.now)
            self.instruction = ASLEEP
        self.pipe.ready += self.instruction is not ASLEEP

    def ready(self, time, value=None):
        self.machine.at(time, lambda: self.resume(value))


class _Pipe:
    def __init__(self, machine):
        self.machine, self.threads, self.turn, self.ready = machine, [], 0, 0

    def issue(self):
        """One instruction of the next ready thread after the last one; whether there was any."""
        for step in range(len(self.threads) if self.ready else 0):
            at = (self.turn + step) % len(self.threads)
            thread = self.threads[at]
            if thread.instruction is not ASLEEP:
                self.turn = at + 1
                what, *rest = thread.instruction
                thread.instruction = ASLEEP
                self.ready -= 1
                self.machine.counts["instruction"] += 1
                what(thread, *rest)
                return True
        return False


class Core:
    """Scratchpad, cache, DMA engine and threads of a core, and what these threads share."""

    def __init__(self, machine, number):
        die = machine.die
        self.machine, self.number, self.cost, self.die = machine, number, machine.cost, die
        self.banks = [[0, -1, 0] for _ in range(die.banks)]  # free, busy word, until
        self.sets = [[] for _ in range(die.cache_bytes // (die.cache_ways * die.line_bytes))]
        self.pipes = [_Pipe(machine) for _ in range(die.mtps + die.stps)]
        self.workers = [
            _Thread(machine, self.pipes[w % die.mtps], die.depth) for w in range(die.workers)
        ]
        self.single = _Thread(machine, self.pipes[die.mtps], 1)
        self.pad, self.offsets = {}, {}  # slot: key, slot: place (or value, when fused)
        self.jobs, self.running, self.fills, self.parked = deque(), False, 0, 0
        self.waiting = self.done = False
        self.count, self.order, self.after = 0, -1, "start"

    def start(self):
        for w, thread in enumerate(self.workers):
            thread.program = self.worker(thread, w)
            thread.resume()
        self.single.program = self.cutter()

    # ---- instructions: what a pipeline does when it issues one

    def alu(self, thread):
        thread.ready(self.machine.now + thread.step)

    def work(self, count):
        for _ in range(count):
            yield (self.alu,)

    def bank(self, word, hold, word_hold):
        """Takes the word's bank, in order of arrival; when it begins."""
        bank = self.banks[word % len(self.banks)]
        begin = max(self.machine.now, bank[0], bank[2] if bank[1] == word else 0)
        bank[0] = begin + hold
        if word_hold:
            bank[1], bank[2] = word, begin + word_hold
        return begin

    def pad_load(self, thread, word, effect=None):
        value = effect() if effect else None
        done = self.bank(word, 1, 0) + self.die.scratchpad_latency
        thread.ready(max(self.machine.now + thread.step, done), value)

    def pad_store(self, thread, word, effect=None):
        """Posted: the thread does not wait for the bank."""
        if effect:
            effect()
        self.bank(word, 1, 0)
        thread.ready(self.machine.now + thread.step)

    def atomic_at(self, word, effect, cycles):
        """Effects of one word happen in order of arrival, which is the order of service."""
        value = effect()
        begin = self.bank(word, self.die.atomic_cycles, cycles)
        return begin + self.die.scratchpad_latency + cycles, value

    def atomic(self, thread, word, effect, cycles=None):
        done, value = self.atomic_at(word, effect, cycles or self.die.atomic_cycles)
        thread.ready(max(self.machine.now + thread.step, done), value)

    def remote_atomic(self, thread, word, effect):
        """Fetch-add in core 0's scratchpad."""
        m, first = self.machine, self.machine.now + thread.step
        here, there = m.places[0, self.number], m.places[0, 0]

        def arrived():
            done, value = m.cores[0].atomic_at(word, effect, self.die.atomic_cycles)
            m.at(done, lambda: m.travel(there, here, 1, 8, lambda: back(value)))

        def back(value):
            thread.ready(max(m.now, first), value)

        m.travel(here, there, 0, 8, arrived)

    def load(self, thread, name, index=0, size=None):
        """Through the cache; a line on its way is waited for."""
        m, die = self.machine, self.die
        size = size or (m.value if name.endswith("value") else m.index)
        line = (m.address[name] + size * index) // die.line_bytes
        lines = self.sets[line % len(self.sets)]
        first = m.now + thread.step
        for entry in lines:
            if entry.line == line:
                m.counts["hit"] += 1
                entry.used = m.now
                first = max(first, m.now + die.cache_latency)
                if entry.waiting is None:
                    thread.ready(first)
                else:
                    entry.waiting.append((first, thread))
                return
        m.counts["miss"] += 1
        if len(lines) == die.cache_ways:
            lines.remove(min(lines, key=lambda entry: entry.used))
        entry = SimpleNamespace(line=line, used=m.now, waiting=[(first, thread)])
        lines.append(entry)

        def filled():
            waiting, entry.waiting = entry.waiting, None
            for time, who in waiting:
                who.ready(max(time, m.now))

        m.dram(self.number, line * die.line_bytes, die.line_bytes, 1, 0, done=filled)

    def dram_load(self, thread, address, size):
        first = self.machine.now + thread.step
        self.machine.dram(
            self.number, address, size, 1, 0,
            done=lambda: thread.ready(max(first, self.machine.now)),
        )  # fmt: skip

    def dram_atomic(self, thread, address, effect):
        """At the memory controller: reads and writes the word."""
        first, found = self.machine.now + thread.step, []
        self.machine.dram(
            self.number, address, 8, 1, 1,
            begun=lambda time: found.append(effect()),
            done=lambda: thread.ready(max(first, self.machine.now), found[0]),
        )  # fmt: skip

    def store(self, thread, address, size):
        """Posted: the thread goes on unless the channel is found backed up before it may."""
        m, state = self.machine, SimpleNamespace(begin=0)
        first = m.now + max(self.die.store_cycles, thread.step)
        m.dram(self.number, address, size, 0, 1, begun=lambda time: setattr(state, "begin", time))
        m.at(first, lambda: thread.ready(max(m.now, state.begin - self.die.store_queue_cycles)))

    def park(self, thread):
        """A barrier of the core's workers; its first worker goes on alone."""

        def arrived():
            self.parked += 1
            if self.parked == len(self.workers):
                self.parked = 0
                self.workers[0].ready(self.machine.now + self.die.barrier_cycles)

        self.machine.at(self.machine.now + thread.step, arrived)

    def park_die(self, thread):
        """A barrier of the die's workers, which sets off the single-thread pipelines."""
        m = self.machine

        def arrived():
            m.arrived += 1
            if m.arrived == len(m.cores) * len(self.workers):
                for core in m.cores:
                    core.single.ready(m.now + self.far_barrier)

        m.at(m.now + thread.step, arrived)

    @property
    def far_barrier(self):
        return self.die.barrier_cycles + 2 * self.machine.longest * self.die.hop_cycles

    def release(self, time, command):
        for other in self.workers[1:]:
            other.ready(time, command)

    def claim(self, name):
        value = getattr(self, name)
        setattr(self, name, value + 1)
        return value

    # ---- the DMA engine

    def wake(self):
        if not self.running:
            self.running = True
            self.next_job()

    def next_job(self):
        m, die = self.machine, self.die
        if not self.jobs:
            self.running = False
            return
        kind, size, _ = self.jobs[0]
        if kind == "fill":
            clocks = -(-size // die.dma_bytes_per_cycle)
            m.at(m.now + die.dma_setup_cycles + clocks, self.job_done)
        else:
            m.at(m.now + die.dma_setup_cycles, self.chunk)

    def chunk(self):
        m, die, job = self.machine, self.die, self.jobs[0]
        size, state = min(job[1], die.dma_chunk_bytes), SimpleNamespace(begin=0)
        m.dram(self.number, job[2], size, 0, 1, begun=lambda time: setattr(state, "begin", time))
        job[1] -= size
        job[2] += size

        def moved():
            wait = state.begin - die.store_queue_cycles - die.store_cycles
            m.at(max(m.now, wait), self.chunk if job[1] else self.job_done)

        m.at(m.now + -(-size // die.dma_bytes_per_cycle), moved)

    def job_done(self):
        m = self.machine
        kind = self.jobs.popleft()[0]
        m.end = max(m.end, m.now)
        if kind != "copy":
            self.pad.clear()
            self.offsets.clear()
            self.fills -= 1
            if self.fills == 0 and self.waiting:
                self.waiting = False
                self.workers[0].ready(m.now)
        self.next_job()
