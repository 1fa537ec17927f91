"""The designs that are synthesized for the tables and for the fit of the area model.

A point is a block of a configuration. Its role says what its figures are for: `fit` points set the
model's coefficients, `check` points are left out of the fit and tell how well the model predicts
sizes that it has not seen. Points of the tables are either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["FORMATS", "SIZES", "TARGETS_MEASURED", "Point", "area_points"]

SIZES = (2, 4, 8, 16)
"""Rows and columns of the tables' arrays."""
FORMATS = ("int8", "fp16")
TARGETS_MEASURED = ("xcup", "ecp5", "generic")

# What a tuple does not name is the preset's. Most of the fit's arrays are small: the coefficients
# are of PEs, rows, columns and their skew, which a 2 x 4 array has as an 8 x 8 one does.
_SAT_PE_FIT: tuple[tuple[str, ...], ...] = (
    (),
    ("group=1", "sparsity=dense"),
    ("sparsity=1:4",),
    ("sparsity=1:16",),
    ("interleave=1",),
    ("interleave=2",),
    ("interleave=8",),
    ("adder_latency=1",),
    ("adder_latency=2",),
    ("adder_latency=6", "interleave=6"),
    ("adder_latency=8", "interleave=8"),
    ("multiplier_latency=1",),
    ("multiplier_latency=3",),
    ("sparsity=1:4", "interleave=1", "adder_latency=1", "multiplier_latency=1"),
    ("sparsity=1:4", "interleave=2", "adder_latency=2", "multiplier_latency=2"),
    ("sparsity=1:16", "interleave=6", "adder_latency=6", "multiplier_latency=3"),
)
_SAT_PE_CHECK: tuple[tuple[str, ...], ...] = (
    ("sparsity=1:4", "interleave=3", "adder_latency=3"),
    ("adder_latency=5", "interleave=4", "multiplier_latency=3"),
    ("sparsity=1:16", "interleave=6", "adder_latency=2", "multiplier_latency=1"),
    ("sparsity=1:2",),
)
_SAT_ARRAY_FIT: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (2, 2, ()),
    (4, 4, ()),
    (8, 8, ()),
    (1, 1, ()),
    (2, 6, ()),
    (6, 2, ()),
    (4, 4, ("sparsity=1:4",)),
    (2, 4, ("sparsity=1:16",)),
    (4, 2, ("sparsity=1:4", "interleave=1", "adder_latency=1", "multiplier_latency=1")),
    (3, 5, ("interleave=6", "adder_latency=6", "multiplier_latency=3")),
    (5, 3, ("sparsity=1:4", "interleave=8")),
    (3, 3, ("interleave=4", "adder_latency=2")),
    (2, 2, ("sparsity=1:4", "psum_depth=64")),
    (2, 2, ("sparsity=1:4", "psum_depth=4096")),
)
_SAT_ARRAY_CHECK: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (16, 16, ()),
    (12, 12, ()),
    (5, 9, ("sparsity=1:4", "interleave=2", "adder_latency=2", "psum_depth=1024")),
)
# Pipelines for speed on ECP5, at these sizes, with the clock that place and route aims at.
_SAT_FAST: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "int8": (
        (2, 4, 8),
        ("adder_latency=2", "multiplier_latency=2", "interleave=2", "clock_hz=150e6"),
    ),
    "fp16": (
        (2, 4),
        ("adder_latency=7", "multiplier_latency=3", "interleave=7", "clock_hz=100e6"),
    ),
}
_SPGEMM_UNITS_FIT = (
    (),
    ("format=int32",),
    ("entries=64", "probe_limit=16"),
    ("entries=1024",),
    ("column_bits=16",),
    ("row_bits=6",),
    ("adder_latency=2", "multiplier_latency=2"),
    ("adder_latency=6", "multiplier_latency=6"),
    ("bank_queue=16", "product_queue=16"),
    ("epoch_bits=3", "token_queue=16", "request_queue=4"),
    ("lanes=2", "banks=8"),
    ("lanes=4", "banks=16", "request_queue=32"),
    ("lanes=16", "banks=64", "token_queue=128"),
    ("format=int32", "multiplier_latency=1", "adder_latency=1"),
)
_SPGEMM_UNITS_CHECK = (
    ("entries=512", "column_bits=20", "row_bits=8", "lanes=6"),
    ("format=int32", "adder_latency=3", "multiplier_latency=3", "product_queue=8"),
)
_SPGEMM_ENGINE_FIT = (
    # lanes, banks, outputs, more
    (1, 2, 1, ()),
    (2, 2, 1, ()),
    (2, 4, 2, ()),
    (2, 8, 2, ()),
    (4, 4, 4, ()),
    (4, 8, 1, ("entries=64", "probe_limit=16")),
    (4, 16, 4, ("column_bits=16",)),
    (2, 4, 1, ("format=int32",)),
)
_SPGEMM_ENGINE_CHECK = ((8, 32, 4, ()), (4, 8, 2, ("format=int32", "entries=512")))
_DELTA_UNITS_FIT = (
    (),
    ("lanes=1", "detector_width=1"),
    ("lanes=2", "detector_width=2"),
    ("lanes=8", "detector_width=8"),
    ("lanes=16", "detector_width=16"),
    ("lanes=8", "detector_width=2"),
    ("activation_bits=4", "weight_bits=4", "accumulator_bits=16"),
    ("activation_bits=12", "weight_bits=8", "accumulator_bits=32"),
    ("coordinate_bits=10", "channel_bits=16", "address_bits=20"),
    ("coordinate_bits=5", "channel_bits=8", "address_bits=12"),
    ("prefetch=32", "fifo_depth=64"),
    ("sigma_words=1024", "reference_words=256", "parameter_words=16"),
    ("theta=8",),
)
_DELTA_UNITS_CHECK = (
    ("lanes=12", "detector_width=12", "accumulator_bits=20"),
    ("lanes=4", "detector_width=8", "prefetch=16", "coordinate_bits=9"),
)
_GRU_UNITS_FIT = (
    (),
    ("lanes=4",),
    ("lanes=2",),
    ("lanes=16",),
    ("lanes=8", "detector_width=4"),
    ("lanes=8", "detector_width=8"),
    ("table_bits=9",),
    ("activation_bits=12", "activation_fraction=6", "weight_bits=6", "weight_fraction=5"),
    ("accumulator_bits=32",),
    ("address_bits=16", "channel_bits=9", "prefetch=8", "fifo_depth=8"),
)
_GRU_UNITS_CHECK = (("lanes=12", "accumulator_bits=28", "detector_width=2"),)

Role = Literal["fit", "check"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A block to synthesize.

    Attributes:
        preset: of the configuration.
        overrides: `KEY=VALUE`, on top of it.
        block: a name of `hwsim.rtl.blocks.blocks_of`.
        role: `fit` or `check`.
        placed: place and route it where there is a router and room.
    """

    preset: str
    overrides: tuple[str, ...]
    block: str
    role: Role = "fit"
    placed: bool = False

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What is synthesized, whatever it is for."""
        return (self.preset, self.block, self.overrides)


def area_points() -> Iterator[Point]:
    """All points, the cheap ones first."""
    yield from _units()
    yield from _delta()
    yield from _arrays(_SAT_ARRAY_FIT, "fit")
    yield from _fast()
    yield from _engines()
    yield from _arrays(_SAT_ARRAY_CHECK, "check")


def _units() -> Iterator[Point]:
    for fmt in FORMATS:
        for role, settings in _roles(_SAT_PE_FIT, _SAT_PE_CHECK):
            for words in settings:
                yield Point(
                    preset="sat",
                    overrides=(f"format={fmt}", *words),
                    block="uspe",
                    role=role,
                    placed=all("latency" in w or "interleave" in w for w in words),
                )
    for lanes, role in ((1, "fit"), (2, "fit"), (8, "fit"), (16, "check")):
        for pattern in ("1:4", "2:4", "2:8", "4:16"):
            words = (f"sparsity={pattern}", f"sore_lanes={lanes}")
            placed = lanes == 8 and pattern == "2:8"
            yield Point(preset="sat", overrides=words, block="sore", role=role, placed=placed)
    for pattern in ("1:8", "2:16", "3:8"):
        words = (f"sparsity={pattern}", "sore_lanes=4")
        yield Point(preset="sat", overrides=words, block="sore", role="check")
    for adder, multiplier in ((4, 2), (1, 1), (6, 3)):
        for lanes in (1, 2):
            words = (
                f"wuve_lanes={lanes}",
                f"adder_latency={adder}",
                f"multiplier_latency={multiplier}",
                f"interleave={adder}",
            )
            yield Point(preset="sat", overrides=words, block="wuve")
    yield Point(preset="sat", overrides=("wuve_lanes=1",), block="wuve", placed=True)
    yield Point(preset="sat", overrides=("wuve_lanes=8",), block="wuve", role="check")
    for cols in (1, 4):
        yield Point(preset="sat", overrides=(f"cols={cols}",), block="post", placed=cols == 4)
    for adder in (1, 6):
        words = ("cols=4", f"adder_latency={adder}", f"interleave={adder}")
        yield Point(preset="sat", overrides=words, block="post")
    yield Point(preset="sat", overrides=("cols=8",), block="post", role="check")
    for block in ("bank", "lane", "dispatch"):
        for role, settings in _roles(_SPGEMM_UNITS_FIT, _SPGEMM_UNITS_CHECK):
            for words in settings:
                yield Point(
                    preset="spgemm", overrides=words, block=block, role=role, placed=not words
                )


def _delta() -> Iterator[Point]:
    for preset, back, fit, check in (
        ("delta", "output", _DELTA_UNITS_FIT, _DELTA_UNITS_CHECK),
        ("edgedrnn", "gates", _GRU_UNITS_FIT, _GRU_UNITS_CHECK),
    ):
        for block in ("scanner", "streamer", "lanes", back, "engine"):
            for role, settings in _roles(fit, check):
                for words in settings:
                    scaled = all("lanes" in w or "width" in w for w in words)
                    if (
                        block == "engine"
                        and role == "fit"
                        and not scaled
                        and "fifo" not in words[-1]
                    ):
                        continue  # what joins the blocks grows with their width and the queue
                    yield Point(
                        preset=preset,
                        overrides=words,
                        block=block,
                        role=role,
                        placed=not words or (block == "engine" and scaled),
                    )


def _arrays(shapes: tuple[tuple[int, int, tuple[str, ...]], ...], role: Role) -> Iterator[Point]:
    for rows, cols, more in sorted(shapes, key=lambda shape: shape[0] * shape[1]):
        for fmt in FORMATS:
            words = (f"rows={rows}", f"cols={cols}", f"format={fmt}", *more)
            placed = rows == cols and not more
            yield Point(preset="sat", overrides=words, block="stce", role=role, placed=placed)


def _fast() -> Iterator[Point]:
    for fmt, (sizes, more) in _SAT_FAST.items():
        for size in sizes:
            words = (f"rows={size}", f"cols={size}", f"format={fmt}", "sparsity=2:4", *more)
            yield Point(preset="sat", overrides=words, block="stce", role="check", placed=True)


def _engines() -> Iterator[Point]:
    for role, shapes in (("fit", _SPGEMM_ENGINE_FIT), ("check", _SPGEMM_ENGINE_CHECK)):
        for lanes, banks, outputs, more in shapes:
            words = (f"lanes={lanes}", f"banks={banks}", f"outputs={outputs}", *more)
            yield Point(
                preset="spgemm",
                overrides=words,
                block="engine",
                role=role,  # type: ignore[arg-type] # of the tuple above
                placed=not more,
            )


def _roles(
    fit: tuple[tuple[str, ...], ...], check: tuple[tuple[str, ...], ...]
) -> tuple[tuple[Role, tuple[tuple[str, ...], ...]], ...]:
    return (("fit", fit), ("check", check))
