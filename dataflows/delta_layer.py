"""Fast exact layers of the delta engine: values, events and cycles of linear and conv layers.

Values are those of `hwsim.models.delta`, events scattered one after the other in the order of the
scan. Cycles without stalls follow from the events by max-plus recurrences over the pipeline's
queues, word of weights by word; they equal `hwsim.dataflows.delta_sim`, which steps every cycle,
where ports never stall. Arrays are channels-last here: an image is [height, width, channels].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.delta_sim import OUTPUT_DEPTH, EngineWork
from hwsim.models.delta import Conv, Linear
from hwsim.models.delta_shape import DeltaShape

__all__ = ["DeltaLayerState", "LayerGeometry", "frame_cycles", "layer_work"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """A layer as the engine takes it; a linear one is a 1 x 1 convolution of a 1 x 1 image.

    Attributes:
        height, width, channels: of the input.
        out_height, out_width, filters: of the sums.
        kernel_height, kernel_width, stride, pad: of the convolution.
        pool: side and stride of the max-pool.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    filters: int
    kernel_height: int
    kernel_width: int
    stride: int
    pad: int
    pool: int

    @classmethod
    def of(cls, layer: Linear | Conv, shape: tuple[int, ...]) -> LayerGeometry:
        """Geometry of a layer for an input [channels, height, width] or [elements].

        Raises:
            ValueError: a shape that the layer does not take, or a grouped convolution.
        """
        if isinstance(layer, Linear):
            inputs = int(np.prod(shape))
            if inputs != layer.weight.shape[1]:
                raise ValueError(
                    f"the input must have {layer.weight.shape[1]} elements, but got {inputs}"
                )
            return cls(
                height=1, width=1, channels=inputs, out_height=1, out_width=1,
                filters=len(layer.weight), kernel_height=1, kernel_width=1, stride=1, pad=0, pool=1,
            )  # fmt: skip
        if layer.groups != 1:
            raise ValueError(f"groups must be 1 on the delta engine, but got {layer.groups}")
        filters, out_height, out_width = layer.sums_shape(shape)
        pool = layer.output.pool
        if min(out_height, out_width) < pool:
            raise ValueError(
                f"the sums must hold a whole window of the pool, but got {out_height} x "
                f"{out_width} and pool={pool}"
            )
        return cls(
            height=shape[1], width=shape[2], channels=shape[0], out_height=out_height,
            out_width=out_width, filters=filters, kernel_height=layer.weight.shape[2],
            kernel_width=layer.weight.shape[3], stride=layer.stride, pad=layer.pad, pool=pool,
        )  # fmt: skip

    @property
    def pooled(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.out_height // self.pool, self.out_width // self.pool

    def out_words(self, lanes: int) -> int:
        """Words of one pixel's sums."""
        return -(-self.filters // lanes)

    def channel_words(self, width: int) -> int:
        """Words of one pixel's channels."""
        return -(-self.channels // width)

    def reached(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows of sums each input row adds to, and which columns: bool [in, out]."""
        rows = _reached(self.height, self.out_height, self.kernel_height, self.stride, self.pad)
        columns = _reached(self.width, self.out_width, self.kernel_width, self.stride, self.pad)
        return rows, columns


class DeltaLayerState:
    """A layer with its sums and codes; `hwsim.models.delta.DeltaLayer`, compiled.

    Args:
        layer: weights and output pass.
        shape: of its input, [channels, height, width] or [elements].
        accumulator_bits: width of a sum.

    Attributes:
        geometry: of the layer.
        sigma: int64 [out_height, out_width, filters].
        codes: int64 [height, width, filters] of the result, channels last.
        macs: products added so far.
        saturations: additions that left the accumulator's range.

    Raises:
        ValueError: as `LayerGeometry.of`.
    """

    def __init__(
        self, layer: Linear | Conv, shape: tuple[int, ...], *, accumulator_bits: int
    ) -> None:
        self.layer = layer
        self.geometry = g = LayerGeometry.of(layer, shape)
        self.top = 1 << (accumulator_bits - 1)
        weight = np.asarray(layer.weight, np.int64).reshape(
            g.filters, g.channels, g.kernel_height, g.kernel_width
        )
        self.weight = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))  # [c, ky, kx, filter]
        self.sigma = np.zeros((g.out_height, g.out_width, g.filters), np.int64)
        self.codes = self._codes() * 0
        self.macs = self.saturations = 0

    def step(self, delta: Ints) -> Ints:
        """Take a frame's differences [height, width, channels], give those of the codes."""
        g = self.geometry
        if isinstance(self.layer, Linear) and delta.ndim == 3:
            delta = np.moveaxis(delta, -1, 0)  # ONNX flattens with the channel outermost
        given = np.ascontiguousarray(delta, np.int64).reshape(g.height, g.width, g.channels)
        macs, saturations = _scatter(given, self.weight, self.sigma, g.stride, g.pad, self.top)
        self.macs += macs
        self.saturations += saturations
        codes = self._codes()
        changed = codes - self.codes
        self.codes = codes
        return changed

    def _codes(self) -> Ints:
        """Codes of the sums, channels last."""
        sums = np.moveaxis(self.sigma, -1, 0)
        if isinstance(self.layer, Linear):
            return self.layer.output.codes(sums.reshape(-1)).reshape(1, 1, -1)
        return np.ascontiguousarray(np.moveaxis(self.layer.output.codes(sums), 0, -1))


def layer_work(deltas: Ints, geometry: LayerGeometry, shape: DeltaShape) -> EngineWork:
    """What an engine does for frames of differences.

    Args:
        deltas: int64 [frames, height, width, channels].
        geometry: of the layer.
        shape: of the engine.
    """
    return _work(deltas != 0, geometry, shape, *_full(geometry, shape))


def cluster_work(
    nonzero: NDArray[np.bool_], geometry: LayerGeometry, shape: DeltaShape, clusters: int
) -> list[EngineWork]:
    """What each cluster does: output row y is cluster y mod clusters', of a vector word b.

    A cluster takes only the events that add to its sums, and at each frame's end the last.

    Args:
        nonzero: bool [frames, height, width, channels], the events.
        geometry, shape: of the layer and of one cluster.
        clusters: how many, at least 1.
    """
    g = geometry
    rows, columns = g.reached()
    words, height, width = g.out_words(shape.lanes), *g.pooled
    works = []
    for c in range(clusters):
        if g.out_height == 1 and g.out_width == 1:
            mine = len(range(c, words, clusters))
            beats = np.full((g.height, g.width), mine, np.int64)
            results = mine
        else:
            beats = rows[:, c::clusters].sum(1)[:, None] * columns.sum(1) * words
            # a window of the pool is read by the cluster of its first row
            results = len(range(c, height, clusters)) * width * words
        sums = -(-words * g.out_height * g.out_width // clusters)
        works.append(_work(nonzero & (beats > 0)[:, :, None], g, shape, beats, sums, results))
    return works


def frame_cycles(work: EngineWork, shape: DeltaShape, latency: int = 1) -> tuple[Ints, Ints]:
    """Cycles without stalls of a layer's frames that follow one another at once.

    Args:
        work: of a layer, not of a GRU.
        shape: of the engine.
        latency: cycles from a request of weights to its word, at least 1.

    Returns:
        int64 [frames] twice: the cycle in which each frame's last result is taken, from reset; and
        the cycles in which the lanes take an entry, a part of them.

    Raises:
        ValueError: a latency below 1.
    """
    if latency < 1:
        raise ValueError(f"latency >= 1 must hold, but got {latency}")
    ends = np.zeros(len(work.counts), np.int64)
    busy = np.zeros(len(work.counts), np.int64)
    _recurrence(
        np.ascontiguousarray(work.counts), work.beats, work.reads, work.set_words, work.walk,
        shape.capacity, shape.prefetch, latency, OUTPUT_DEPTH, ends, busy,
    )  # fmt: skip
    return ends, busy


def _full(g: LayerGeometry, shape: DeltaShape) -> tuple[Ints, int, int]:
    """Words that each pixel's event adds to, words of sums, words of results."""
    rows, columns = g.reached()
    words = g.out_words(shape.lanes)
    beats = rows.sum(1)[:, None] * columns.sum(1) * words
    height, width = g.pooled
    return beats, words * g.out_height * g.out_width, words * height * width


def _work(
    nonzero: NDArray[np.bool_],
    g: LayerGeometry,
    shape: DeltaShape,
    beats: Ints,
    sums: int,
    results: int,
) -> EngineWork:
    width = shape.detector_width
    frames, words = len(nonzero), g.channel_words(width)
    events = np.zeros((frames, g.height, g.width, words * width), np.bool_)
    events[..., : g.channels] = nonzero
    sent = events.copy()
    sent[:, -1, -1, -1] = True  # the last always enters: it closes the frame
    costs = np.broadcast_to(beats[:, :, None], events.shape[1:])
    reads = (events & (costs > 0))[sent]
    each = np.broadcast_to(costs, events.shape)[sent]
    return EngineWork(
        counts=sent.reshape(frames, -1, width).sum(2),
        beats=np.where(reads, each, 1),
        reads=reads,
        input_words=g.height * g.width * words,
        set_words=sums,
        walk=results * g.pool**2,
        window=g.pool**2,
    )


def _reached(size: int, out: int, kernel: int, stride: int, pad: int) -> NDArray[np.bool_]:
    """bool [in, out]: input i is seen by output o."""
    at = np.arange(size)[:, None] + pad - np.arange(out) * stride
    return (at >= 0) & (at < kernel)


@njit(cache=True)
def _scatter(delta, weight, sigma, stride, pad, top):  # pragma: no cover - compiled
    height, width, channels = delta.shape
    _, kernel_h, kernel_w, filters = weight.shape
    out_h, out_w, _ = sigma.shape
    macs = saturations = 0
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                d = delta[y, x, c]
                if d == 0:
                    continue
                for ky in range((y + pad) % stride, kernel_h, stride):
                    oy = (y + pad - ky) // stride
                    if oy < 0 or oy >= out_h:
                        continue
                    for kx in range((x + pad) % stride, kernel_w, stride):
                        ox = (x + pad - kx) // stride
                        if ox < 0 or ox >= out_w:
                            continue
                        for f in range(filters):
                            total = sigma[oy, ox, f] + d * weight[c, ky, kx, f]
                            kept = min(max(total, -top), top - 1)
                            saturations += kept != total
                            sigma[oy, ox, f] = kept
                        macs += filters
    return macs, saturations


@njit(cache=True)
def _recurrence(
    counts, beats, reads, set_words, walk, capacity, prefetch, latency, depth, ends, busy
):  # pragma: no cover - compiled
    # cycles in which: the newest events left the FIFO; entries moved to the second queue; entries
    # were taken by the lanes
    popped = np.full(capacity, -1, np.int64)
    moved = np.full(prefetch, -1, np.int64)
    taken1 = taken2 = -1  # the last and the one before
    stage = 3  # cycle in which a word comes to the detector: taken in 1 at the earliest
    fired = move = -1
    resume = set_words  # first cycle in which the lanes take entries
    event = beat = 0
    for frame in range(counts.shape[0]):
        for word in range(counts.shape[1]):
            for _ in range(counts[frame, word]):
                # one enters in the cycle in which the one `capacity` before leaves
                pushed = max(stage, popped[event % capacity])
                ready = pushed + 1
                for _ in range(beats[event]):
                    fired = max(fired + 1, ready, moved[beat % prefetch] + 1)
                    move = max(fired + 1, move + 1, taken2 + 1)
                    moved[beat % prefetch] = move
                    take = max(move + 1, taken1 + 1, resume)
                    if reads[event]:
                        take = max(take, fired + 1 + latency)
                    taken2, taken1 = taken1, take
                    beat += 1
                popped[event % capacity] = fired
                busy[frame] += beats[event]
                event += 1
                stage = pushed + 1
            if counts[frame, word] == 0:
                stage += 1
        ends[frame] = taken1 + walk + 1 + depth
        resume = taken1 + walk + 2
