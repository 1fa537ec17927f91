"""The shape of a sparse array: what fixes its streams, its steps and its hardware.

One object serves the cycle law, the stepped simulator, the operand streams and the RTL generator,
so that a constant such as the least distance of two folds exists once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["FRONT_STEPS", "RESULT_QUEUE", "ArrayShape"]

FRONT_STEPS = 2
"""Cycles more from a step to its result than its registers take: a step that is decided in one
cycle reaches the rows in the next and the PEs in the one after. The sequencer's flags are
registered too, but a step ahead."""

RESULT_QUEUE = 8
"""Result beats that the output holds. A step is decided without a look at the port and its beat
comes two cycles later, so the last places are left to what is under way; half of the queue would
keep a beat leaving in every cycle."""


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """A rows x cols array of processing elements (PEs).

    Attributes:
        rows, cols: PEs down a column, along a row.
        group: activations that a PE holds and picks one of, the hardware's M.
        psum_depth: rows of A whose partial sums a column holds between weight-stationary folds.
        interleave: I, outputs that a PE sums in turn when output stationary.
        adder_latency: L, steps from an addend to its sum.
        multiplier_latency: steps from two factors to their product.

    Raises:
        ValueError: a size below 1, or a psum_depth below 2.
    """

    rows: int
    cols: int
    group: int = 1
    psum_depth: int = 2
    interleave: int = 1
    adder_latency: int = 1
    multiplier_latency: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 2 if field.name == "psum_depth" else 1
            if getattr(self, field.name) < least:
                value = getattr(self, field.name)
                raise ValueError(f"{field.name} >= {least} must hold, but got {value}")

    @property
    def tile_cols(self) -> int:
        """Columns of an output-stationary unit tile: I neighbouring column tiles."""
        return self.cols * self.interleave

    @property
    def tile_beats(self) -> int:
        """Result beats of an output-stationary unit tile."""
        return self.rows * self.interleave

    @property
    def slot_steps(self) -> int:
        """Steps from a pair to the next pair of the same output: max(I, L).

        The adder needs L steps before its sum can be added to again; I - L more registers hold
        what else is under way.
        """
        return max(self.interleave, self.adder_latency)

    @property
    def drain_slots(self) -> int:
        """Slots in which a tile's results leave through the columns, one a step."""
        return -(-self.tile_beats // self.slot_steps)

    @property
    def fold_steps(self) -> int:
        """Least steps between weight-stationary folds: a partial sum passes an adder a row, is
        stored, and is read again through the block RAM's output register."""
        return self.adder_latency * self.rows + 3

    @property
    def load_delay(self) -> int:
        """Steps into a fold after which the next fold's weights may enter.

        Row r takes over its new weights L r steps into a fold; weights move down a row a step.
        """
        return (self.adder_latency - 1) * (self.rows - 1)

    @property
    def multiply_steps(self) -> int:
        """Steps from a group's arrival at a PE to the adder's input: select and multiply."""
        return 1 + self.multiplier_latency

    @property
    def pe_latency(self) -> int:
        """Steps from a group's arrival at a PE to the sum that contains its product."""
        return self.multiply_steps + self.adder_latency

    @property
    def os_exit(self) -> int:
        """Steps from a tile's last pair to the array's first result beat in the result queue."""
        return self.pe_latency + self.rows + self.cols - 1

    @property
    def ws_exit(self) -> int:
        """Steps from a row of A to its result beat in the result queue."""
        return self.pe_latency + 1 + self.adder_latency * (self.rows - 1) + self.cols - 1

    @property
    def flush_steps(self) -> int:
        """Steps after a job until a job of the other mode may start: all results have left."""
        return FRONT_STEPS + max(self.os_exit + self.tile_beats, self.ws_exit + 1)
