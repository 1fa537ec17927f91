"""Accelerator configurations: one frozen object that is simulated, generated, verified and swept.

A configuration comes from a preset name or a YAML file, then `KEY=VALUE` overrides; `config.yaml`
of a run holds it fully resolved and feeding that back gives the same configuration. Numbers that a
user states are fields; figures that follow from them are properties, computed here and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic import field_validator as _field_validator

from hwsim.config_base import BusConfig, DramConfig, Frozen
from hwsim.config_dataflow import SpgemmDataflowConfig
from hwsim.config_delta import DeltaConfig
from hwsim.config_mac_skip import MacSkipConfig
from hwsim.config_piuma import PiumaConfig
from hwsim.config_spgemm import SpgemmConfig
from hwsim.energy_block import EnergyBlock, Powered
from hwsim.errors import UserError
from hwsim.models.array import ArrayShape
from hwsim.models.formats import NumberFormat, number_format
from hwsim.models.nm import NMPattern, parse_pattern
from hwsim.yaml12 import parse_value, parse_yaml

__all__ = [
    "Accelerator",
    "ArrayConfig",
    "BufferConfig",
    "BusConfig",
    "DeltaConfig",
    "DramConfig",
    "EnergyConfig",
    "MacSkipConfig",
    "PiumaConfig",
    "SatConfig",
    "SparseConfig",
    "SpgemmConfig",
    "SpgemmDataflowConfig",
    "StreamConfig",
    "SystolicConfig",
    "dump_config",
    "load_config",
    "preset_names",
    "preset_text",
    "replace",
    "sentence",
]

_PE_LIMIT = 1024
"""Rows or columns of an array at most; counts of one layer then stay far inside 64 bits."""


class BufferConfig(Frozen):
    """On-chip memories in bytes, each double-buffered: half is computed from, half filled.

    Attributes:
        input_bytes: activations, operand A.
        weight_bytes: weights, operand B, with the indices of compact formats.
        output_bytes: results, operand Z.
    """

    input_bytes: Annotated[int, Field(ge=64)]
    weight_bytes: Annotated[int, Field(ge=64)]
    output_bytes: Annotated[int, Field(ge=64)]


class EnergyConfig(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        mac_pj: one multiply-accumulate in the configured format.
        buffer_read_pj, buffer_write_pj: a byte to or from an on-chip buffer.
        dram_pj: a byte to or from DRAM.
        vector_pj: one element-wise operation.
        input_pj, weight_pj, output_pj: a byte to or from the buffer of that operand; None takes
            `buffer_read_pj` and `buffer_write_pj`. What DMA brings goes by `buffer_write_pj`.
    """

    mac_pj: Annotated[float, Field(ge=0)]
    buffer_read_pj: Annotated[float, Field(ge=0)]
    buffer_write_pj: Annotated[float, Field(ge=0)]
    dram_pj: Annotated[float, Field(ge=0)]
    vector_pj: Annotated[float, Field(ge=0)]
    input_pj: Annotated[float, Field(ge=0)] | None = None
    weight_pj: Annotated[float, Field(ge=0)] | None = None
    output_pj: Annotated[float, Field(ge=0)] | None = None


class _Array(Powered):
    """What the systolic machines share.

    Attributes:
        name: shown in reports.
        rows, cols: the array of processing elements.
        sparsity: `dense` or `N:M`, of the weights along k.
        format: `fp16` (FP16 x FP16 + FP32) or `int8` (INT8 x INT8 + INT32).
        clock_hz: clock frequency.
        first_layer_dense: the network's first layer with weights is not pruned.
        vector_lanes: element-wise operations a cycle; 0 leaves those layers to a host.
    """

    name: str
    rows: Annotated[int, Field(ge=1, le=_PE_LIMIT)]
    cols: Annotated[int, Field(ge=1, le=_PE_LIMIT)]
    sparsity: str
    format: str
    clock_hz: Annotated[float, Field(gt=0)]
    first_layer_dense: bool
    vector_lanes: Annotated[int, Field(ge=0, le=65536)]
    buffers: BufferConfig
    dram: DramConfig
    energy: EnergyConfig

    @_field_validator("sparsity")
    @classmethod
    def _check_sparsity(cls, value: str) -> str:
        return str(parse_pattern(value))

    @_field_validator("format")
    @classmethod
    def _check_format(cls, value: str) -> str:
        return number_format(value).name

    @property
    def pattern(self) -> NMPattern:
        """The N:M pattern of pruned layers; 1:1 when dense."""
        return parse_pattern(self.sparsity)

    @property
    def number(self) -> NumberFormat:
        return number_format(self.format)

    @property
    def pes(self) -> int:
        """Processing elements, each one multiply-accumulate a cycle."""
        return self.rows * self.cols

    @property
    def peak_macs_per_s(self) -> float:
        """Issued multiply-accumulates a second at full use."""
        return self.pes * self.clock_hz


class SystolicConfig(_Array):
    """The plain array that published simulators model: folds do not overlap.

    Attributes:
        dataflow: `os`, `ws` or `is`: the operand that stays in the array.
        drain: count the `rows` cycles in which an output-stationary fold leaves the array, which
            the published convention leaves out.
    """

    kind: Literal["systolic"] = "systolic"
    dataflow: Literal["os", "ws", "is"]
    drain: bool


class SatConfig(_Array):
    """The sparse training array: sparse and dense on the same PEs, os and ws, folds overlapped.

    Attributes:
        group: activations that a PE holds and picks one of, the hardware's M; None takes the M of
            `sparsity`, or 8 when that is dense.
        dataflow: `os`, `ws`, or `auto`, which predicts both for every layer and takes the faster.
        psum_depth: partial sums a column can hold between weight-stationary folds, a power of two.
        adder_latency: L, pipeline stages of a PE's adder.
        multiplier_latency: pipeline stages of a PE's multiplier.
        interleave: I, independent outputs that a PE sums in turn when output stationary, one from
            each of I neighbouring column tiles; an adder of latency L is used min(1, I / L).
        sore_lanes: groups that the N:M selector (SORE) reduces side by side.
        wuve_lanes: weights that the weight update engine (WUVE) updates a cycle.
        method: how a network is trained, which decides the operand that is N:M in each stage: a
            name of `hwsim.models.pruning.METHODS`.
        pregeneration: the weight update writes the compact N:M copies for the next step; without,
            FF and BP read dense weights and reduce them on the way in.
        bus: the buses of the FPGA-ready top.
    """

    kind: Literal["sat"] = "sat"
    group: Annotated[int, Field(ge=1, le=32)] | None
    dataflow: Literal["os", "ws", "auto"]
    psum_depth: Annotated[int, Field(ge=2, le=65536)]
    adder_latency: Annotated[int, Field(ge=1, le=8)] = 1
    multiplier_latency: Annotated[int, Field(ge=1, le=4)] = 1
    interleave: Annotated[int, Field(ge=1, le=16)] = 1
    sore_lanes: Annotated[int, Field(ge=1, le=_PE_LIMIT)] = 32
    wuve_lanes: Annotated[int, Field(ge=1, le=_PE_LIMIT)] = 32
    method: Literal["dense", "sr_ste", "sdgp", "sdwp", "bdwp"] = "bdwp"
    pregeneration: bool = True
    bus: BusConfig = BusConfig()

    @model_validator(mode="after")
    def _check_group(self) -> SatConfig:
        pattern = self.pattern
        if self.group is not None and self.group % pattern.m:
            raise ValueError(
                f"group must be a multiple of the M of sparsity, "
                f"but got group={self.group} and sparsity={self.sparsity}"
            )
        if self.psum_depth & (self.psum_depth - 1):
            raise ValueError(f"psum_depth must be a power of two, but got {self.psum_depth}")
        return self

    @property
    def group_size(self) -> int:
        """Activations held by a PE: `group` resolved."""
        if self.group is not None:
            return self.group
        return 8 if self.pattern.dense else self.pattern.m

    @property
    def array(self) -> ArrayShape:
        """The array as its cycle law, streams and RTL take it."""
        return ArrayShape(
            rows=self.rows,
            cols=self.cols,
            group=self.group_size,
            psum_depth=self.psum_depth,
            interleave=self.interleave,
            adder_latency=self.adder_latency,
            multiplier_latency=self.multiplier_latency,
        )

    @property
    def index_bits(self) -> int:
        """Width of the index that picks one of the held activations."""
        return (self.group_size - 1).bit_length()


ArrayConfig = SystolicConfig | SatConfig
"""The machines that run networks of dense shape layer by layer."""
SparseConfig = SpgemmConfig | PiumaConfig | SpgemmDataflowConfig
"""The machines that run sparse products."""
StreamConfig = DeltaConfig | MacSkipConfig
"""The machines that run frames or other real inputs, because their cycles depend on the zeros."""
Accelerator = ArrayConfig | SparseConfig | StreamConfig
Machine = TypeVar("Machine", bound=Accelerator)
_ADAPTER: TypeAdapter[Accelerator] = TypeAdapter(
    Annotated[Accelerator, Field(discriminator="kind")]
)
_MODELS: dict[str, type[Frozen]] = {
    model.model_fields["kind"].default: model for model in get_args(Accelerator)
}


def preset_names() -> list[str]:
    """Names of the presets in the package, sorted."""
    root = resources.files("hwsim.presets")
    return sorted(p.name.removesuffix(".yaml") for p in root.iterdir() if p.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """A preset's YAML, with the source of every number.

    Raises:
        UserError: there is none of that name.
    """
    if name not in preset_names():
        known = ", ".join(preset_names())
        raise UserError(f"accelerator {name!r} is neither a preset ({known}) nor a YAML file")
    return (resources.files("hwsim.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(accelerator: str | Path, overrides: Iterable[str] = ()) -> Accelerator:
    """The configuration of a preset or YAML file, with `a.b=value` overrides applied in order.

    Raises:
        UserError: no such preset or file, malformed YAML, or a field that breaks its rule; the
            sentence names the field's path, the rule and the value.
    """
    source = str(accelerator)
    if source.endswith((".yaml", ".yml")):
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"cannot read configuration {source}: {reason}") from None
    else:
        text = preset_text(source)
    data = _with_groups(parse_yaml(text, source))
    overrides = tuple(overrides)
    for override in overrides:
        _apply(data, override)
    _refuse_stated(data, (override.partition("=")[0].strip() for override in overrides))
    return _validate(data, source)


def replace(config: Machine, changes: Mapping[str, Any]) -> Machine:
    """A checked copy with the fields at dotted paths changed; `kind` cannot be.

    Raises:
        UserError: an unknown field or a value that breaks its rule.
    """
    data = config.model_dump()
    for path, value in changes.items():
        _set(data, path, value)
    _refuse_stated(data, changes)
    made = _validate(data, config.name)
    if type(made) is not type(config):
        raise UserError(f"kind: it cannot change from {config.kind} to {made.kind}")
    return cast(Machine, made)


def dump_config(config: Accelerator) -> str:
    """YAML that `load_config` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False)


def _with_groups(data: dict[str, Any]) -> dict[str, Any]:
    """With the groups of fields that a file may leave out, so that an override finds them."""
    model = _MODELS.get(str(data.get("kind")))
    fields = model.model_fields if model is not None else {}
    groups = {n: f.default.model_dump() for n, f in fields.items() if isinstance(f.default, Frozen)}
    return groups | data


def _refuse_stated(data: dict[str, Any], paths: Iterable[str]) -> None:
    """Refuses energies that a table would replace."""
    energy = data.get("energy")
    if not isinstance(energy, dict) or energy.get("source") != "table":
        return
    for path in paths:
        if path.startswith("energy.") and path.endswith("_pj"):
            raise UserError(f"{path}: the table gives it with energy.source=table")


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path.strip():
        raise UserError(f"an override must read KEY=VALUE, but got {override!r}")
    try:
        parsed = parse_value(value)
    except ValueError as error:
        raise UserError(f"override {path}: {error}") from None
    _set(data, path.strip(), parsed)


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    here: Any = data
    for depth, part in enumerate(parents):
        here = here.get(part) if isinstance(here, dict) else None
        if not isinstance(here, dict):
            raise UserError(f"{path}: {'.'.join(parents[: depth + 1])} has no fields of its own")
    here[leaf] = value


def _validate(data: dict[str, Any], source: str) -> Accelerator:
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] in ("union_tag_not_found", "union_tag_invalid"):
            rule = f"must be one of {', '.join(_MODELS)}"
            raise UserError(f"kind: {rule} in {source}, but got {data.get('kind')!r}") from None
        raise UserError(sentence(error, source, _fields_at(data, first["loc"]))) from None


def sentence(error: ValidationError, source: str, known: list[str]) -> str:
    """The first broken rule as one sentence: path of the field, rule, value got.

    Args:
        error: what pydantic says.
        source: the file or object, for rules that have no field.
        known: the fields where an unknown one was given.
    """
    first = error.errors(include_url=False)[0]
    path = ".".join(str(p) for p in first["loc"] if p not in _MODELS) or source
    got, kind = first["input"], first["type"]
    if kind == "extra_forbidden":
        return f"{path}: there is no such field; those here are {', '.join(known)}"
    if kind == "missing":
        return f"{path}: this field is required in {source}"
    if kind == "value_error":
        message = str(first["ctx"]["error"])
        return message if path == source else f"{path}: {message}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{path}: {message}, but got {got!r}"


def _fields_at(data: dict[str, Any], loc: tuple[int | str, ...]) -> list[str]:
    model: Any = _MODELS[data["kind"]]
    for part in loc[1:-1]:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
