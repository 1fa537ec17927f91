"""Training steps as the engine runs them: a descriptor list over one memory.

A program is what a host prepares once: where every tensor lies, the list of commands, and for each
command the addresses that its operand streams are fetched from and its results are stored to. The
values live in the memory alone, so whoever executes a program, `hwsim.dataflows.program_sim` or the
RTL, carries weights, momenta and masks from step to step by itself.

A memory word holds one element, whatever its width: FP32 and FP16 by their bits, indices, mask
bits. Words 0 to 255 hold their own address, so a constant is an address too (padding is word 0,
+0.0), and one word takes what nobody reads.

The order is that of `hwsim.models.exact_train`: FF of every layer; the host's softmax; for the
layers from last to first BP, WU, the update, and the reduction of the new FP16 copy to both compact
copies. Each product runs output or weight stationary, whichever the cycle law says is faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.stce import OS, WS, gemm_cycles
from hwsim.dataflows.stce_feed import OperandStreams, lay_out
from hwsim.models.array import ArrayShape
from hwsim.models.exact_layers import Layer, backward_matrix, gather, gather_back
from hwsim.models.exact_state import LayerState, Recipe
from hwsim.models.nm import Compact, NMPattern
from hwsim.models.post import PostMode

__all__ = [
    "CONSTANTS",
    "RAW",
    "Command",
    "EngineShape",
    "HostStep",
    "Places",
    "Program",
    "Unit",
    "training_program",
]

CONSTANTS = 256
"""Words at the bottom of the memory that hold their own address."""

TRASH = CONSTANTS
"""The word that takes results of padding."""

RAW = 3
"""Beside the modes of `PostMode`: sums leave as they are, FP32."""

Addresses = NDArray[np.int64]


class Unit(IntEnum):
    """What runs a command; the numbers are the hardware's."""

    ARRAY = 0
    UPDATE = 1
    SELECT = 2


@dataclass(frozen=True, kw_only=True)
class EngineShape:
    """The sizes of a training engine.

    Attributes:
        array: its array; FP16.
        pattern: N and M of its selectors; `array.group` is M.
        update_lanes, select_lanes: lanes of the update engine and of the selectors.

    Raises:
        ValueError: a dense pattern, another group, or a lane count below 1.
    """

    array: ArrayShape
    pattern: NMPattern
    update_lanes: int
    select_lanes: int

    def __post_init__(self) -> None:
        if self.pattern.dense or self.array.group != self.pattern.m:
            raise ValueError(
                "the engine's selectors need an N:M pattern whose M is the array's group, "
                f"but got {self.pattern} and group={self.array.group}"
            )
        for name in ("update_lanes", "select_lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} >= 1 must hold, but got {getattr(self, name)}")

    @property
    def post_steps(self) -> int:
        """Steps of the post unit: bias and rounding."""
        return self.array.adder_latency + 1


@dataclass(frozen=True, kw_only=True)
class Command:
    """One descriptor with the addresses of its streams.

    Attributes:
        name: layer, stage and part, for people.
        unit: what runs it.
        job: mode, tiles, folds, length, word_steps of the array; zeros for other units.
        post: `PostMode` or `RAW`, of array commands.
        operands: addresses [beats, fields] by port: `a`, `b` and `gate` of the array, `update` or
            `select`. The fields of a beat are those of the port's payload, lowest first.
        results: addresses [beats, fields] that results go to.
    """

    name: str
    unit: Unit
    job: tuple[int, ...] = (0, 0, 0, 0, 0)
    post: int = RAW
    operands: dict[str, Addresses]
    results: Addresses


@dataclass(frozen=True, kw_only=True)
class HostStep:
    """The host's part of a step, before the command that follows it: dY from the logits.

    Attributes:
        step: which step, from 0.
        logits, gradient: addresses [batch, classes], FP32 in and FP16 out.
        labels: integers [batch].
        scale: loss scale.
    """

    step: int
    logits: Addresses
    gradient: Addresses
    labels: NDArray[np.int64]
    scale: float


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a layer's state lies, addresses.

    Attributes:
        w, v, copy, gradient: [k, n].
        forward, backward: (values, indices [slots, columns], mask [k, columns]), None where the
            weights stay dense or the layer has no BP.
    """

    w: Addresses
    v: Addresses
    copy: Addresses
    gradient: Addresses
    forward: tuple[Addresses, Addresses, Addresses] | None
    backward: tuple[Addresses, Addresses, Addresses] | None


@dataclass(frozen=True, kw_only=True)
class Program:
    """Commands and host steps in order, and the memory they start from.

    Attributes:
        engine: what it was made for.
        items: commands and host steps.
        layers: where each layer's state lies.
        memory: uint32, the initial contents.
        recipe: how it trains; `update_rule` are the scalars of the update engine.
        boundaries: number of items behind which each training step is complete.
    """

    engine: EngineShape
    items: list[Command | HostStep]
    layers: list[Places]
    memory: NDArray[np.uint32]
    recipe: Recipe
    boundaries: list[int]

    @property
    def commands(self) -> list[Command]:
        return [item for item in self.items if isinstance(item, Command)]


def training_program(
    network: Sequence[Layer],
    states: Sequence[LayerState],
    batches: Sequence[tuple[NDArray, NDArray]],
    recipe: Recipe,
    engine: EngineShape,
) -> Program:
    """The program of one training step a batch.

    Args:
        network: layers that follow each other.
        states: what the engine starts from.
        batches: (images, labels) of each step; all of one shape.
        recipe: with `engine.pattern`, a method that prunes weights or nothing, not nested.

    Raises:
        ValueError: the engine has no data path for the recipe.
    """
    if recipe.pruning.backward == "gradients":
        raise ValueError("the engine selects weights only, but got method sdgp, which prunes dY")
    if recipe.nested:
        raise ValueError("the engine's masks are independent, but got nested masks")
    if recipe.pruning.name != "dense" and recipe.pattern != engine.pattern:
        raise ValueError(f"the engine selects {engine.pattern}, but got {recipe.pattern}")
    maker = _Maker(network, recipe, engine, len(batches[0][0]))
    for layer, state in zip(network, states, strict=True):
        maker.place(layer, state)
    boundaries = []
    for step, (images, labels) in enumerate(batches):
        maker.step(step, images, labels)
        boundaries.append(len(maker.items))
    return Program(
        engine=engine,
        items=maker.items,
        layers=maker.layers,
        memory=maker.memory.image(),
        recipe=recipe,
        boundaries=boundaries,
    )


@dataclass
class _Memory:
    """Hands out addresses; remembers what is there at the start."""

    size: int = CONSTANTS + 1
    chunks: list[tuple[Addresses, NDArray]] = field(default_factory=list)

    def take(self, *shape: int) -> Addresses:
        count = int(np.prod(shape))
        found = np.arange(self.size, self.size + count).reshape(shape)
        self.size += count
        return found

    def put(self, value: NDArray) -> Addresses:
        found = self.take(*value.shape)
        self.chunks.append((found, _bits(value)))
        return found

    def image(self) -> NDArray[np.uint32]:
        memory = np.zeros(self.size, np.uint32)
        memory[:CONSTANTS] = np.arange(CONSTANTS)
        for where, what in self.chunks:
            memory[where] = what
        return memory


def _bits(value: NDArray) -> NDArray[np.uint32]:
    """Elements as memory words."""
    if value.dtype.kind == "f":
        unsigned = {2: np.uint16, 4: np.uint32}[value.dtype.itemsize]
        value = np.ascontiguousarray(value).view(unsigned)
    return value.astype(np.uint32)


class _Maker:
    """Writes the commands of one training step after the other."""

    def __init__(
        self, network: Sequence[Layer], recipe: Recipe, engine: EngineShape, batch: int
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.engine = engine
        self.batch = batch
        self.memory = _Memory()
        self.items: list[Command | HostStep] = []
        self.layers: list[Places] = []
        # maps[i] enters layer i; gradients[i] is dY of layer i
        self.maps = [self.memory.take(*layer.input_shape(batch)) for layer in network]
        self.logits = self.memory.take(batch, network[-1].outputs)
        self.gradients = [self.memory.take(*layer.output_shape(batch)) for layer in network]

    def place(self, layer: Layer, state: LayerState) -> None:
        """A layer's state in memory."""
        put = self.memory.put
        self.layers.append(
            Places(
                w=put(state.w),
                v=put(state.v),
                copy=put(state.copy),
                gradient=self.memory.take(layer.k, layer.outputs),
                forward=self._compact(state.forward, state.forward_mask),
                backward=self._compact(state.backward, state.backward_mask),
            )
        )

    def _compact(
        self, held: object, mask: NDArray | None
    ) -> tuple[Addresses, Addresses, Addresses] | None:
        if not isinstance(held, Compact) or mask is None:
            return None
        put = self.memory.put
        return put(held.values), put(held.indices), put(mask)

    def step(self, number: int, images: NDArray, labels: NDArray) -> None:
        """The commands of a training step on its own copy of the images."""
        shape = self.network[0].input_shape(self.batch)
        self.maps[0] = self.memory.put(images.astype(np.float16).reshape(shape))
        last = len(self.network) - 1
        for i, layer in enumerate(self.network):
            a = gather(self.maps[i], layer)
            if i == last:
                self._product(f"{layer.name} FF", a, self._forward(i), RAW, self.logits)
            else:
                out = self.maps[i + 1].reshape(-1, layer.outputs)
                post = PostMode.RELU if layer.relu else PostMode.PASS
                self._product(f"{layer.name} FF", a, self._forward(i), post, out)
        host = HostStep(
            step=number,
            logits=self.logits,
            gradient=self.gradients[last].reshape(self.batch, -1),
            labels=np.asarray(labels, np.int64),
            scale=self.recipe.loss_scale,
        )
        self.items.append(host)
        for i in range(last, -1, -1):
            self._layer_back(i)

    def _layer_back(self, i: int) -> None:
        layer, places = self.network[i], self.layers[i]
        dy = self.gradients[i]
        if i:
            out = self.gradients[i - 1].reshape(-1, layer.inputs)
            gated = self.network[i - 1].relu
            gate = self.maps[i].reshape(-1, layer.inputs) if gated else None
            post = PostMode.GATE if gated else PostMode.PASS
            b = self._backward(i)
            self._product(f"{layer.name} BP", gather_back(dy, layer), b, post, out, gate)
        columns = gather(self.maps[i], layer).T
        rows = dy.reshape(-1, layer.outputs)
        self._product(f"{layer.name} WU", columns, (rows, None), RAW, places.gradient)
        self._update(layer, places)
        if places.forward is not None:
            self._select(f"{layer.name} SORE forward", places.copy, places.forward)
        if places.backward is not None:
            turned = backward_matrix(places.copy, layer)
            self._select(f"{layer.name} SORE backward", turned, places.backward)

    def _forward(self, i: int) -> tuple[Addresses, Addresses | None]:
        places = self.layers[i]
        return (places.copy, None) if places.forward is None else places.forward[:2]

    def _backward(self, i: int) -> tuple[Addresses, Addresses | None]:
        places = self.layers[i]
        if places.backward is not None:
            return places.backward[:2]
        return backward_matrix(places.copy, self.network[i]), None

    def _product(
        self,
        name: str,
        a: Addresses,
        b: tuple[Addresses, Addresses | None],
        post: int,
        out: Addresses,
        gate: Addresses | None = None,
    ) -> None:
        """Z = A B as one command a job, os or ws by predicted cycles."""
        array = self.engine.array
        values, indices = b
        steps, n = values.shape
        word_steps = self.engine.pattern.n
        if indices is None:  # dense: every place of a group in turn, a constant
            word_steps = array.group
            indices = np.repeat((np.arange(steps) % array.group)[:, None], n, axis=1)
        cycles = {mode: gemm_cycles(mode, len(a), n, steps, array) for mode in (OS, WS)}
        mode = min(cycles, key=lambda m: cycles[m])
        streams = lay_out(a, values, indices, word_steps, mode, array)
        results = _scatter(streams, out, TRASH)
        gates = None if gate is None else _scatter(streams, gate, 0)
        at_a = at_b = at_z = 0
        for number, job in enumerate(streams.jobs):
            _, tiles, folds, length, _ = (int(v) for v in job)
            if mode == OS:
                beats_a = tiles * ceil(length / word_steps)
                beats_b = tiles * length * array.interleave
                beats_z = tiles * array.tile_beats
            else:
                beats_a, beats_b = tiles * folds * length, tiles * folds * array.rows
                beats_z = tiles * length
            pairs = [streams.b_values, streams.b_indices]
            b_fields = np.stack([p[at_b : at_b + beats_b] for p in pairs], axis=2)
            operands = {
                "a": streams.a[at_a : at_a + beats_a].reshape(beats_a, -1),
                "b": b_fields.reshape(beats_b, -1),
            }
            if gates is not None:
                operands["gate"] = gates[at_z : at_z + beats_z]
            self.items.append(
                Command(
                    name=f"{name} {'ws' if mode else 'os'} {number + 1}/{len(streams.jobs)}",
                    unit=Unit.ARRAY,
                    job=tuple(int(v) for v in job),
                    post=int(post),
                    operands=operands,
                    results=results[at_z : at_z + beats_z],
                )
            )
            at_a, at_b, at_z = at_a + beats_a, at_b + beats_b, at_z + beats_z

    def _update(self, layer: Layer, places: Places) -> None:
        lanes = self.engine.update_lanes
        keep = np.ones_like(places.w) if places.forward is None else places.forward[2]
        inputs = [places.w, places.v, places.gradient, keep]
        outputs = [places.w, places.v, places.copy]
        self.items.append(
            Command(
                name=f"{layer.name} WUVE",
                unit=Unit.UPDATE,
                operands={"update": _lanes(inputs, lanes, 0)},
                results=_lanes(outputs, lanes, TRASH),
            )
        )

    def _select(
        self, name: str, copy: Addresses, compact: tuple[Addresses, Addresses, Addresses]
    ) -> None:
        """The reduction of a matrix along k, over the lanes: block after block of columns, of each
        group after group, as `hwsim.dataflows.sore` takes them."""
        lanes, pattern = self.engine.select_lanes, self.engine.pattern
        k, columns = copy.shape
        values, indices, mask = compact
        operands, results = [], []
        for rows, block in _groups(k, columns, pattern.m, lanes):
            weights = np.zeros((len(rows), lanes + 1), np.int64)
            weights[:, : len(block)] = copy[np.ix_(rows, block)]
            weights[-1, lanes] = 1  # the group's last weight
            operands.append(weights)
            group = rows[0] // pattern.m
            slots = np.arange(group * pattern.n, (group + 1) * pattern.n)
            beat = np.full((lanes, 2 * pattern.n + pattern.m), TRASH)
            for lane, column in enumerate(block):
                beat[lane, : pattern.n] = values[slots, column]
                beat[lane, pattern.n : 2 * pattern.n] = indices[slots, column]
                beat[lane, 2 * pattern.n : 2 * pattern.n + len(rows)] = mask[rows, column]
            results.append(beat.ravel())
        self.items.append(
            Command(
                name=name,
                unit=Unit.SELECT,
                operands={"select": np.concatenate(operands)},
                results=np.array(results),
            )
        )


def _scatter(streams: OperandStreams, where: Addresses, padding: int) -> Addresses:
    """Addresses [beats, cols] of result beats in a matrix [m, n]."""
    cols = streams.b_values.shape[1]
    n = where.shape[1]
    columns = streams.z_cols[:, None] + np.arange(cols)
    inside = (streams.z_rows[:, None] >= 0) & (columns < n)
    rows = np.maximum(streams.z_rows, 0)[:, None]
    return np.where(inside, where[rows, np.minimum(columns, n - 1)], padding)


def _groups(
    k: int, columns: int, m: int, lanes: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows of a group, columns of a block)."""
    for left in range(0, columns, lanes):
        block = np.arange(left, min(left + lanes, columns))
        for top in range(0, k, m):
            yield np.arange(top, min(top + m, k)), block


def _lanes(parts: Sequence[Addresses], lanes: int, padding: int) -> Addresses:
    """Matrices side by side, element after element over the lanes: [beats, lanes * parts]."""
    count = parts[0].size
    beats = ceil(count / lanes)
    fields = np.full((beats * lanes, len(parts)), padding)
    for i, part in enumerate(parts):
        fields[:count, i] = part.ravel()
    return fields.reshape(beats, lanes * len(parts))
