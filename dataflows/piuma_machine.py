"""Resources and event queue of the PIUMA model: what every thread program is written with.

Time is in integer clocks. A thread has one instruction in flight, so a program is a chain of
"n instructions, the last of which touches memory". Two rules make that one event a memory access:

* Issue slots are claimed one by one in a ring of bits for each pipeline (`issue`): slot t is taken
  or free whoever comes first, so slots may be claimed ahead of time.
* Whatever must happen in order (an atomic, a DRAM access, a store) happens at an event at its own
  issue time (`file`); then banks, channels and links are reserved with next-free times.

The approximations that remain: a thread claims the slots of up to some tens of instructions before
its rivals do; a packet reserves all links and the channel when it sets out; plain scratchpad loads
and stores wait for a busy bank but do not hold it (`docs/piuma-model.md`).

The queue is a wheel of `WHEEL` buckets of one clock, each a first-in first-out list through the
threads' own records; a later time waits in the last bucket and is filed again.

Records are rows of int64 arrays whose columns are the constants below: `par` parameters, `th`
threads (and one DMA engine a core), `core` what the threads of a core share, `cnt` running counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from hwsim.dataflows.piuma_compile import compiled, inlined

__all__ = [
    "ATOMICS",
    "BUCKETS",
    "BYTE_CAUSES",
    "COUNTS",
    "PARAMETERS",
    "RING",
    "SPANS",
    "WHEEL",
    "Machine",
    "Net",
    "access",
    "atomic",
    "close_buckets",
    "dram",
    "file",
    "fill",
    "gauge",
    "issue",
    "pop",
    "prefetch",
    "remote_atomic",
    "span",
    "store",
    "totals_of",
    "touch",
    "wait",
]

RING = 128
"""Blocks of 32 issue slots that a pipeline remembers, a bit a slot."""
WHEEL = 4096
BUCKETS = 1024
"""Rows of the timeline; the clocks of a bucket double when they run out."""
SPANS = 20000
"""Spans kept one by one; later ones of a core and phase are joined."""

PARAMETERS = (
    "cores", "threads_per_core", "workers", "depth", "barrier", "far_barrier",
    "banks", "scratchpad_latency", "atomic_cycles", "float_add_cycles",
    "sets", "ways", "line_shift", "cache_latency",
    "hop_cycles", "link_bytes", "header_bytes", "routers", "links",
    "dma_bytes", "dma_setup", "dma_chunk",
    "channels", "interleave_shift", "burst", "burst_ticks", "dram_latency", "store_cycles",
    "store_queue",
    "slots", "entries", "token_size", "row_token", "merge_products", "inner_columns",
    "static", "high", "offset", "dma",
    "m", "n", "k", "column_bits", "value_bytes", "coordinate_bytes", "pointer_bytes",
    "a_pointer", "a_index", "a_value", "b_pointer", "b_index", "b_value",
    "bound", "window", "z", "table", "t_index", "t_value", "windows",
)  # fmt: skip
(
    CORES, THREADS_PER_CORE, WORKERS, DEPTH, BARRIER, FAR_BARRIER,
    BANKS, SCRATCHPAD_LATENCY, ATOMIC_CYCLES, FLOAT_ADD_CYCLES,
    SETS, WAYS, LINE_SHIFT, CACHE_LATENCY,
    HOP_CYCLES, LINK_BYTES, HEADER_BYTES, ROUTERS, LINKS,
    DMA_BYTES, DMA_SETUP, DMA_CHUNK,
    CHANNELS, INTERLEAVE_SHIFT, BURST, BURST_TICKS, DRAM_LATENCY, STORE_CYCLES,
    STORE_QUEUE,
    SLOTS, ENTRIES, TOKEN_SIZE, ROW_TOKEN, MERGE_PRODUCTS, INNER_COLUMNS,
    STATIC, HIGH, OFFSET, DMA,
    M, N, K, COLUMN_BITS, VALUE_BYTES, COORDINATE_BYTES, POINTER_BYTES,
    A_POINTER, A_INDEX, A_VALUE, B_POINTER, B_INDEX, B_VALUE,
    BOUND, WINDOW, Z, TABLE, T_INDEX, T_VALUE, WINDOWS,
) = range(len(PARAMETERS))  # fmt: skip

TICKS = 1 << 16
"""Of a clock, in which DRAM channels reckon."""

# Columns of `th`. WAIT is the first of eight, in the order of `hwsim.dataflows.piuma.WAITS`.
STATE, TIME, NEXT, CORE, PIPE, STEP, ADDRESS, CAUSE, ISSUED, WAIT = range(10)
W_PIPELINE, W_DRAM, W_SCRATCHPAD, W_ATOMIC, W_REMOTE, W_DMA, W_BARRIER, W_IDLE = range(8)
REGISTER = WAIT + 8
"""First register of the thread's program."""
THREAD_COLUMNS = 48

# Columns of `cnt`.
COUNTS = (
    "instruction", "cache_hit", "cache_miss", "scratchpad", "atomic", "remote", "barrier",
    "dma_bytes", "hop_bytes", "dram_access", "multiply", "probe", "insert", "accumulate", "spin",
    "entries_sum", "active_sum", "window", "overflow_window", "pair", "compare", "partial",
    "hot_atomic",
)  # fmt: skip
(
    INSTRUCTION, CACHE_HIT, CACHE_MISS, SCRATCHPAD, ATOMICS, REMOTE, BARRIERS,
    DMA_MOVED, HOP_MOVED, DRAM_ACCESS, MULTIPLY, PROBE, INSERT, ACCUMULATE, SPIN,
    ENTRIES_SUM, ACTIVE_SUM, WINDOW_COUNT, OVERFLOW_WINDOW, PAIR, COMPARE, PARTIAL,
    HOT_ATOMIC,
) = range(len(COUNTS))  # fmt: skip

BYTE_CAUSES = (
    "a.read", "b.read", "pointer.read", "bound.read", "bound.write", "window.read",
    "window.write", "table.read", "table.write", "t.read", "t.write", "z.write",
)  # fmt: skip
(
    A_READ, B_READ, POINTER_READ, BOUND_READ, BOUND_WRITE, WINDOW_READ,
    WINDOW_WRITE, TABLE_READ, TABLE_WRITE, T_READ, T_WRITE, Z_WRITE,
) = range(len(BYTE_CAUSES))  # fmt: skip

# `queue`: running state of the wheel, the gauges and the timeline.
(FILED, ENTRY_GAUGE, ENTRY_SINCE, ACTIVE_GAUGE, ACTIVE_SINCE, BUCKET, SHIFT, BOUNDARY, SPAN_COUNT,
 DIE_ARRIVED, DIE_LAST, ROW_TOKENS, NEXT_WINDOW, LEFT, END, QUEUE_COLUMNS) = range(16)  # fmt: skip


class Net(NamedTuple):
    """What a packet needs: parameters, channels, links, routes, places, counts, bytes by cause."""

    par: NDArray[np.int64]
    chan: NDArray[np.int64]
    links: NDArray[np.int64]
    routes: NDArray[np.int64]
    places: NDArray[np.int64]
    cnt: NDArray[np.int64]
    moved: NDArray[np.int64]


class Machine(NamedTuple):
    """All of the die: arrays that the programs work on, made by `hwsim.dataflows.piuma_state`."""

    par: NDArray[np.int64]
    cost: NDArray[np.int64]
    th: NDArray[np.int64]
    core: NDArray[np.int64]
    ring: NDArray[np.int64]
    banks: NDArray[np.int64]
    cache: NDArray[np.int64]
    wheel: NDArray[np.int64]
    queue: NDArray[np.int64]
    cnt: NDArray[np.int64]
    totals: NDArray[np.int64]
    spans: NDArray[np.int64]
    last: NDArray[np.int64]
    net: Net


_INTERPRETED = bool(config.DISABLE_JIT)  # type: ignore[attr-defined] # set as it is loaded


@intrinsic
def _prefetch(typing, array, index):
    """Fetches the line of array[index] or array[index, 0] into the host's cache."""

    def code(context, builder, signature, arguments):
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, view.strides)[0]
        base = builder.ptrtoint(view.data, stride.type)
        place = builder.add(base, builder.mul(arguments[1], stride))
        byte = ir.IntType(8).as_pointer()
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
            "llvm.prefetch.p0i8",
        )
        builder.call(function, [builder.inttoptr(place, byte), word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.none(array, index), code


@compiled
def prefetch(array, index):  # pragma: no cover - compiled
    """Tells the host that array[index] is about to be used; no effect on results."""
    if not _INTERPRETED:
        _prefetch(array, index)  # type: ignore[call-arg] # Numba gives the context


@inlined
def file(th, wheel, queue, i, time, now):  # pragma: no cover - compiled
    """Puts thread i into the bucket of `time` >= now, behind those already there."""
    th[i, TIME] = time
    bucket = min(time, now + WHEEL - 1) & (WHEEL - 1)
    th[i, NEXT] = -1
    if wheel[bucket, 0] < 0:
        wheel[bucket, 0] = i
    else:
        th[wheel[bucket, 1], NEXT] = i
    wheel[bucket, 1] = i
    queue[FILED] += 1


@inlined
def pop(th, wheel, queue, now):  # pragma: no cover - compiled
    """The next thread of the bucket of `now`, or -1."""
    bucket = now & (WHEEL - 1)
    i = wheel[bucket, 0]
    if i >= 0:
        wheel[bucket, 0] = th[i, NEXT]
        queue[FILED] -= 1
    return i


@inlined
def issue(th, ring, cnt, i, time, count):  # pragma: no cover - compiled
    """Claims `count` >= 1 issue slots for thread i from `time` on; the time of the last one.

    The last instruction is the caller's: `wait` tells when it is done.
    """
    pipe = th[i, PIPE]
    step = th[i, STEP]
    at = time
    last = time
    block = at >> 5
    place = block & (RING - 1)
    taken = ring[pipe, place, 1] if ring[pipe, place, 0] == block else 0
    for _ in range(count):
        while True:
            if at >> 5 != block:
                ring[pipe, place, 0] = block
                ring[pipe, place, 1] = taken
                block = at >> 5
                place = block & (RING - 1)
                taken = ring[pipe, place, 1] if ring[pipe, place, 0] == block else 0
            rest = taken >> (at & 31)
            if not rest & 1:
                break
            while rest & 1:
                rest >>= 1
                at += 1
        taken |= np.int64(1) << (at & 31)
        last = at
        at += step
    ring[pipe, place, 0] = block
    ring[pipe, place, 1] = taken
    th[i, ISSUED] += count
    th[i, WAIT + W_PIPELINE] += last - time - (count - 1)
    cnt[INSTRUCTION] += count
    return last


@inlined
def wait(th, i, issued, done, cause):  # pragma: no cover - compiled
    """Thread i's instruction issued at `issued` is done at `done`; when the thread is ready.

    No instruction takes less than the pipeline's depth; what it takes more is a wait of `cause`.
    """
    ready = issued + th[i, STEP]
    th[i, WAIT + W_PIPELINE] += th[i, STEP] - 1
    if done > ready:
        th[i, WAIT + cause] += done - ready
        ready = done
    return ready


@inlined
def access(par, banks, cnt, core, word, at):  # pragma: no cover - compiled
    """A plain scratchpad load or store at `at`: waits for a busy bank, does not hold it."""
    cnt[SCRATCHPAD] += 1
    free = banks[core * par[BANKS] + (word & (par[BANKS] - 1)), 0]
    return max(at, free) + par[SCRATCHPAD_LATENCY]


@inlined
def atomic(par, banks, cnt, core, word, now, cycles):  # pragma: no cover - compiled
    """An atomic at its event: serialised on its bank, and on its word for `cycles`."""
    cnt[SCRATCHPAD] += 2
    cnt[ATOMICS] += 1
    bank = core * par[BANKS] + (word & (par[BANKS] - 1))
    start = max(now, banks[bank, 0])
    if banks[bank, 1] == word:
        start = max(start, banks[bank, 2])
    banks[bank, 0] = start + par[ATOMIC_CYCLES]
    banks[bank, 1] = word
    banks[bank, 2] = start + cycles
    return start + par[SCRATCHPAD_LATENCY] + cycles


@compiled
def _travel(net, source, target, first, size, at):  # pragma: no cover - compiled
    """A packet of `size` bytes besides its header leaves `source` at `at`; when it has arrived.

    Its head goes on one router each hop; every link is held for all of its beats.
    """
    par, links, routes = net.par, net.links, net.routes
    size += par[HEADER_BYTES]
    beats = (size + par[LINK_BYTES] - 1) // par[LINK_BYTES]
    pair = source * par[ROUTERS] + target
    hops = routes[pair, 0]
    for h in range(hops):
        link = first + routes[pair, 1 + h]
        at = max(at, links[link])
        links[link] = at + beats
        at += par[HOP_CYCLES]
    net.cnt[HOP_MOVED] += hops * size
    return at + beats - 1


@compiled
def dram(net, core, address, size, read_cause, write_cause, now):  # pragma: no cover - compiled
    """A DRAM access of core `core` at its event: request, channel, response; when it is done.

    Args:
        size: bytes; whole bursts move. With both causes it is an atomic at the controller, which
            reads and writes.
        read_cause, write_cause: of the bytes, -1 for none. A pure write is done when the channel
            has begun it: the caller posts it (`store`).
    """
    par, chan, moved = net.par, net.chan, net.moved
    channel = (address >> par[INTERLEAVE_SHIFT]) % par[CHANNELS]
    target = net.places[1, channel % par[CORES]]
    source = net.places[0, core]
    bursts = (address % par[BURST] + size + par[BURST] - 1) // par[BURST]
    moves = bursts * par[BURST]
    out = size if write_cause >= 0 else 0
    at = _travel(net, source, target, 0, out, now)
    held = 0
    if read_cause >= 0:
        moved[read_cause] += moves
        held += bursts
    if write_cause >= 0:
        moved[write_cause] += moves
        held += bursts
    begin = max(at * TICKS, chan[channel])
    chan[channel] = begin + held * par[BURST_TICKS]
    net.cnt[DRAM_ACCESS] += 1
    if read_cause < 0:
        return begin // TICKS
    done = (chan[channel] + TICKS - 1) // TICKS + par[DRAM_LATENCY]
    return _travel(net, target, source, par[LINKS], size, done)


@compiled
def store(net, core, address, size, cause, now):  # pragma: no cover - compiled
    """A posted store at its event; when the thread may go on."""
    begin = dram(net, core, address, size, -1, cause, now)
    return max(now + net.par[STORE_CYCLES], begin - net.par[STORE_QUEUE])


@compiled
def remote_atomic(net, banks, core, target, word, now):  # pragma: no cover - compiled
    """A fetch-add in core `target`'s scratchpad at its event; when its result is back."""
    net.cnt[REMOTE] += 1
    there, here = net.places[0, target], net.places[0, core]
    at = _travel(net, here, there, 0, 8, now)
    done = atomic(net.par, banks, net.cnt, target, word, at, net.par[ATOMIC_CYCLES])
    return _travel(net, there, here, net.par[LINKS], 8, done)


@inlined
def touch(par, cache, cnt, core, address, at):  # pragma: no cover - compiled
    """When a cached load at `at` has its word, or -1: a miss, which `fill` answers."""
    line = address >> par[LINE_SHIFT]
    ways = par[WAYS]
    row = core * par[SETS] + line % par[SETS]
    for w in range(ways):
        if cache[row, w] == line:
            cnt[CACHE_HIT] += 1
            cache[row, 2 * ways + w] = at
            return max(at + par[CACHE_LATENCY], cache[row, ways + w])
    return np.int64(-1)


@compiled
def fill(net, cache, core, address, cause, now):  # pragma: no cover - compiled
    """A miss at its event: the line comes from DRAM in place of the least recently used one."""
    par = net.par
    net.cnt[CACHE_MISS] += 1
    line = address >> par[LINE_SHIFT]
    size = 1 << par[LINE_SHIFT]
    done = dram(net, core, line * size, size, cause, -1, now)
    ways = par[WAYS]
    row = core * par[SETS] + line % par[SETS]
    oldest = 0
    for w in range(1, ways):
        if cache[row, 2 * ways + w] < cache[row, 2 * ways + oldest]:
            oldest = w
    cache[row, oldest] = line
    cache[row, ways + oldest] = done
    cache[row, 2 * ways + oldest] = now
    return done


@compiled
def gauge(queue, cnt, which, change, now):  # pragma: no cover - compiled
    """Adds `change` to a gauge (ENTRY_GAUGE or ACTIVE_GAUGE) and keeps its integral over time."""
    total = ENTRIES_SUM if which == ENTRY_GAUGE else ACTIVE_SUM
    cnt[total] += queue[which] * (now - queue[which + 1])
    queue[which + 1] = now
    queue[which] += change


@compiled
def close_buckets(queue, cnt, moved, totals, now):  # pragma: no cover - compiled
    """Writes the running totals at every bucket boundary up to `now`.

    `totals` int64[BUCKETS, columns] holds running totals at each bucket's end; when its rows run
    out every second one is dropped.
    """
    while now >= queue[BOUNDARY]:
        at = queue[BOUNDARY]
        gauge(queue, cnt, ENTRY_GAUGE, 0, at)
        gauge(queue, cnt, ACTIVE_GAUGE, 0, at)
        b = queue[BUCKET]
        totals_of(cnt, moved, totals, b)
        queue[BUCKET] = b + 1
        if b + 1 == BUCKETS:
            for h in range(BUCKETS // 2):
                for column in range(totals.shape[1]):
                    totals[h, column] = totals[2 * h + 1, column]
            queue[BUCKET] = BUCKETS // 2
            queue[SHIFT] += 1
        queue[BOUNDARY] = (queue[BUCKET] + 1) << queue[SHIFT]


@compiled
def totals_of(cnt, moved, totals, b):  # pragma: no cover - compiled
    totals[b, 0] = cnt[INSTRUCTION]
    totals[b, 1] = (
        moved[A_READ] + moved[B_READ] + moved[POINTER_READ] + moved[BOUND_READ]
        + moved[WINDOW_READ] + moved[TABLE_READ] + moved[T_READ]
    )  # fmt: skip
    totals[b, 2] = (
        moved[BOUND_WRITE] + moved[WINDOW_WRITE] + moved[TABLE_WRITE] + moved[T_WRITE]
        + moved[Z_WRITE]
    )  # fmt: skip
    totals[b, 3] = cnt[ENTRIES_SUM]
    totals[b, 4] = cnt[ACTIVE_SUM]
    totals[b, 5] = cnt[CACHE_HIT]
    totals[b, 6] = cnt[CACHE_MISS]
    totals[b, 7] = cnt[DMA_MOVED]
    totals[b, 8] = cnt[SCRATCHPAD]


@compiled
def span(spans, last, queue, core, thread, begin, end, phase, window):  # pragma: no cover
    """Keeps a span; of a thread (thread >= 0) only while there is ample room.

    `last` int64[cores, phases] holds the latest span of a core and phase, which takes in further
    ones when the room is used up.
    """
    count = queue[SPAN_COUNT]
    if thread >= 0 and count >= SPANS // 2:
        return
    if count >= SPANS:
        if last[core, phase] >= 0:
            spans[last[core, phase], 3] = end
        return
    spans[count, 0] = core
    spans[count, 1] = thread
    spans[count, 2] = begin
    spans[count, 3] = end
    spans[count, 4] = phase
    spans[count, 5] = window
    if thread < 0:
        last[core, phase] = count
    queue[SPAN_COUNT] = count + 1
