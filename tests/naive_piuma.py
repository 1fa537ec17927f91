"""A slow, obvious model of the hash kernels on PIUMA, to measure the error of the fast one.

Plain Python that goes clock by clock and instruction by instruction: every clock each pipeline
issues one instruction of the next ready thread, round robin; a thread has one instruction in
flight. Thread programs are generators that yield instructions. What `hwsim.dataflows.piuma`
approximates is not approximated here:

* issue slots are given clock by clock, not claimed ahead for a run of instructions;
* packets take link after link and then the channel when they get there, each in order of arrival;
* plain scratchpad accesses hold their bank for a clock, every probe is a compare-exchange of its
  own, every slot of a scan a load at its own clock, the two stores of an entry two packets;
* every word of B is looked up in the cache when it is loaded, and lines age in order of time.

Shared with the fast model: the machine's parameters, the cost table, the cut into windows, the
addresses' order, the mesh's routes, and what each is defined to mean in `hwsim.config_piuma`.
"""

from __future__ import annotations

from types import SimpleNamespace

from naive_piuma_machine import (
    ASLEEP,
    TAGS,
    WORD_COUNT,
    WORD_ROWS,
    WORD_TOKEN,
    WORD_WINDOW,
    Core,
    Machine,
)  # fmt: skip

__all__ = ["NaiveRun", "run_naive"]

SPREAD = 0x9E3779B1


class NaiveRun(SimpleNamespace):
    """cycles, entries {(row, column): value}, counts, moved (DRAM bytes by direction)."""


def run_naive(a, b, die, costs):
    """C = A B by the hash kernel that the mechanisms of `die` make up."""
    machine = Machine(a, b, die, costs, _Worker)
    machine.run()
    return NaiveRun(
        cycles=machine.end, entries=machine.entries, counts=machine.counts, moved=machine.moved
    )


class _Worker(Core):
    """The thread programs, on one core."""

    def worker(self, thread, w):
        yield from self.distribute(w)
        command = yield (self.park_die,)
        while True:
            if w == 0:
                command = yield from self.lead(thread)
            if command == "end":
                return
            if command == "hash":
                yield from self.hash_rows(w) if self.die.work_static else self.hash_tokens()
            else:
                yield from self.scan(w) if command == "scan" else self.copy(w)
            command = yield (self.park,)

    def distribute(self, w):
        m, cost, rows = self.machine, self.cost, self.machine.a.shape[0]
        token = self.number * len(self.workers) + w - len(m.cores) * len(self.workers)
        while True:
            yield from self.work(cost.token)
            if self.die.work_static:
                yield (self.alu,)
                token += len(m.cores) * len(self.workers)
            else:
                token = yield (self.remote_atomic, WORD_ROWS, lambda: m.claim("claimed_rows"))
            first = token * m.row_token
            last = min(first + m.row_token, rows)
            for row in range(first, last):
                yield from self.work(cost.bound_row)
                yield (self.load, "a_pointer", row)
                yield (self.load, "a_pointer", row + 1)
                for e in range(m.a.indptr[row], m.a.indptr[row + 1]):
                    yield from self.work(cost.bound)
                    yield (self.load, "a_index", e)
                    yield (self.load, "b_pointer", m.a.indices[e])
                    yield (self.load, "b_pointer", m.a.indices[e] + 1)
                yield (self.store, m.address["bound"] + 8 * row, 8)
            if first >= rows or last == rows:
                return

    def cutter(self):
        """The single-thread pipeline cuts the core's share of the rows into windows."""
        m, n = self.machine, len(self.machine.cores)
        rows, begins = m.a.shape[0], {x: i for i, x in enumerate(m.windows.begins[:-1].tolist())}
        for row in range(rows * self.number // n, rows * (self.number + 1) // n):
            yield from self.work(self.cost.cut)
            yield (self.load, "bound", row, 8)
            if row in begins:
                yield (self.store, m.address["window"] + 32 * begins[row], 32)
        m.cut += 1
        if m.cut == n:
            for core in m.cores:
                core.workers[0].ready(m.now + self.far_barrier)

    def lead(self, thread):
        """The first worker between two phases: what all workers do next."""
        m, die, cost = self.machine, self.die, self.cost
        if self.after == "hashed" and (self.far or not die.table_offset):
            self.after = "scanned"
            self.release(m.now, "scan")
            return "scan"
        if self.after == "hashed" and not die.write_dma:
            self.after = "copied"
            self.release(m.now, "copy")
            return "copy"
        if self.after != "scanned":  # the engine clears the tags, then copies
            self.fills += 1
            size = (12 if die.table_offset else 16) * m.windows.slots
            self.jobs.append(["fill", size, 0])
            if die.write_dma and self.count:
                entry = 8 + m.value
                self.jobs.append(["copy", entry * self.count, m.address["z"] + entry * self.place])
                yield from self.work(cost.dma)
            yield from self.work(cost.dma + 1)
            self.wake()
        self.order += 1
        yield from self.work(cost.window)
        if die.work_static:
            yield (self.alu,)
            window = self.number + len(m.cores) * self.order
        else:
            window = yield (self.remote_atomic, WORD_WINDOW, lambda: m.claim("claimed_windows"))
        if window >= len(m.windows.far):
            self.release(m.now, "end")
            self.done = True
            return "end"
        yield (self.load, "window", window, 32)
        yield from self.clear_wait()
        far = int(m.windows.far[window])
        if far:
            self.fills += 1
            self.jobs.append(["far", 16 * far, m.address["table"] + 16 * self.far_base])
            yield from self.work(cost.dma + 1)
            self.wake()
            yield from self.clear_wait()
        self.far, self.slots = far, far or m.windows.slots
        self.rows = range(*m.windows.begins[window : window + 2].tolist())
        self.place, self.count, self.token = int(m.windows.places[window]), 0, 0
        self.first, self.last = m.a.indptr[self.rows.start], m.a.indptr[self.rows.stop]
        share = (self.last - self.first) // (2 * len(self.workers))
        self.token_size = min(die.token_size, max(1, share))
        yield (self.alu,)
        self.after = "hashed"
        self.release(m.now + die.barrier_cycles, "hash")
        thread.ready(m.now + die.barrier_cycles)
        yield ASLEEP
        return "hash"

    def clear_wait(self):
        if self.fills:
            self.waiting = True
            yield ASLEEP

    def hash_tokens(self):
        m, cost = self.machine, self.cost
        while True:
            yield from self.work(cost.token)
            e = yield (self.atomic, WORD_TOKEN, lambda: self.claim("token") * self.token_size)
            e += self.first
            if e >= self.last:
                return
            last, row, top = min(e + self.token_size, self.last), self.rows.start, self.rows.stop
            while top - row > 1:
                middle = (row + top) // 2
                yield from self.work(cost.search)
                yield (self.load, "a_pointer", middle)
                if m.a.indptr[middle] <= e:
                    row = middle
                else:
                    top = middle
            yield (self.load, "a_pointer", row + 1)
            yield from self.slice()
            while e < last:
                while e >= m.a.indptr[row + 1]:
                    yield from self.work(cost.row_step)
                    yield (self.load, "a_pointer", row + 2)
                    row += 1
                    yield from self.slice()
                yield from self.entry(row, e)
                e += 1

    def hash_rows(self, w):
        m = self.machine
        for row in range(self.rows.start + w, self.rows.stop, len(self.workers)):
            yield from self.work(self.cost.row)
            yield (self.load, "a_pointer", row)
            yield (self.load, "a_pointer", row + 1)
            yield from self.slice()
            for e in range(m.a.indptr[row], m.a.indptr[row + 1]):
                yield from self.entry(row, e)
        yield from self.work(self.cost.row)

    def slice(self):
        if self.die.hash_high:
            yield (self.pad_load, WORD_ROWS)
            yield (self.pad_load, WORD_ROWS)

    def entry(self, row, e):
        m, cost = self.machine, self.cost
        inner = m.a.indices[e]
        yield from self.work(cost.entry)
        yield (self.load, "a_index", e)
        yield (self.load, "a_value", e)
        yield (self.load, "b_pointer", inner)
        yield (self.load, "b_pointer", inner + 1)
        for p in range(m.b.indptr[inner], m.b.indptr[inner + 1]):
            yield from self.work(cost.element)
            yield (self.load, "b_index", p)
            yield (self.load, "b_value", p)
            yield from self.work(cost.multiply + cost.hash)
            column = int(m.b.indices[p])
            yield from self.merge(row, column, m.a.data[e] * m.b.data[p])

    def merge(self, row, column, product):
        """Claims or finds the key's slot, and adds."""
        m, cost = self.machine, self.cost
        slot, key = self.hash(row, column), (row, column)
        while True:
            m.counts["probe"] += 1
            found = yield self.compare_exchange(slot, key)
            yield from self.work(cost.probe)
            if found in (None, key):
                break
            yield from self.work(cost.next_slot)
            slot = (slot + 1) % self.slots
        m.counts["insert" if found is None else "accumulate"] += 1
        if self.far or not self.die.table_offset:
            yield from self.work(cost.accumulate)
            yield self.add(slot, key, product)
        elif found is None:
            yield from self.work(cost.insert)
            place = yield (self.atomic, WORD_COUNT, lambda: self.claim("count"))
            dense = TAGS + 2 * m.windows.slots + place
            columns = int(self.die.table_slots * self.die.table_load)
            yield (self.pad_store, dense + columns)
            yield (self.pad_store, dense, lambda: m.entries.update({key: product}))
            word = TAGS + m.windows.slots + slot // 2
            yield (self.pad_store, word, lambda: self.offsets.update({slot: place}))
        else:
            place = None
            while place is None:
                yield from self.work(cost.offset)
                word = TAGS + m.windows.slots + slot // 2
                place = yield (self.pad_load, word, lambda: self.offsets.get(slot))
                m.counts["spin"] += place is None
            yield from self.work(cost.accumulate)
            word = TAGS + 2 * m.windows.slots + place
            yield (self.atomic, word, m.adder(key, product), self.die.float_add_cycles)

    def hash(self, row, column):
        m = self.machine
        if not self.die.hash_high:
            key = ((row - self.rows.start) << m.bits) | column
            return (key * SPREAD) % self.slots
        start, at, after, stop = m.before[[self.rows.start, row, row + 1, self.rows.stop]].tolist()
        whole = max(stop - start, 1)
        first = (at - start) * self.slots // whole
        size = (after - start) * self.slots // whole - first
        return first + ((column * size) >> m.bits)

    def compare_exchange(self, slot, key):
        def effect():
            return self.pad.get(slot) or self.pad.__setitem__(slot, key)

        if self.far:
            return self.dram_atomic, self.far_address(slot), effect
        return self.atomic, TAGS + slot, effect

    def add(self, slot, key, product):
        effect = self.machine.adder(key, product)
        if self.far:
            return self.dram_atomic, self.far_address(slot) + 8, effect
        return self.atomic, TAGS + self.slots + slot, effect, self.die.float_add_cycles

    @property
    def far_base(self):
        return self.number * self.machine.far_slots

    def far_address(self, slot):
        return self.machine.address["table"] + 16 * (self.far_base + slot)

    def scan(self, w):
        cost = self.cost
        share = -(-self.slots // len(self.workers))
        for slot in range(min(share * w, self.slots), min(share * (w + 1), self.slots)):
            yield from self.work(cost.scan)
            if self.far:
                yield (self.alu,)
                yield (self.dram_load, self.far_address(slot), 16)
            else:
                yield (self.pad_load, TAGS + slot)
            if slot not in self.pad:
                continue
            yield from self.work(cost.emit)
            place = self.place + (yield (self.atomic, WORD_COUNT, lambda: self.claim("count")))
            if not self.far:
                yield (self.pad_load, TAGS + self.slots + slot)
            yield from self.stores(place)
            del self.pad[slot]
            if not self.far:
                yield (self.pad_store, TAGS + slot)
                yield (self.pad_store, TAGS + self.slots + slot)

    def copy(self, w):
        for place in range(w, self.count, len(self.workers)):
            word = TAGS + 2 * self.machine.windows.slots + place
            yield from self.work(self.cost.copy_entry)
            yield (self.pad_load, word)
            yield (self.pad_load, word)
            yield from self.stores(self.place + place)

    def stores(self, place):
        entry = 8 + self.machine.value
        address = self.machine.address["z"] + entry * place
        yield (self.store, address, 8)
        yield (self.store, address + 8, self.machine.value)
