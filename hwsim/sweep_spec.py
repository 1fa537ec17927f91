"""What a sweep is: a base configuration, fields and values, workloads, objectives, a method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hwsim.config import sentence
from hwsim.errors import UserError
from hwsim.sweep_spec_parts import (
    Choice,
    Method,
    Range,
    Table,
    Value,
    Workload,
    parse_method,
    parse_parameter,
    parse_table,
    parse_workload,
)
from hwsim.yaml12 import parse_yaml

__all__ = ["SweepSpec", "load_spec", "spec_schema"]

Parameter = Annotated[
    Annotated[list[Value], Field(min_length=1)] | Choice | Range, BeforeValidator(parse_parameter)
]


class SweepSpec(BaseModel):
    """A search over any fields of a configuration; every field is explained in docs/sweeps.md.

    Attributes:
        accelerator: preset or YAML file that every point starts from.
        workloads: as WORKLOAD of `hwsim simulate`; every configuration runs on each. With weights
            they are one mix and a point is a configuration.
        parameters: values by dotted field path.
        together: lists of fields that move in step instead, all with equally many values.
        phase: `inference`, or `training` for one step.
        batch, seed: as for `hwsim simulate`.
        constraints: expressions that must hold; those on fields alone are looked at before a point
            is run, those on measures after.
        derived: measures computed from others, expression by name.
        objectives: `min` or `max` by measure.
        measures: further measures that the table of results shows.
        tables: measures from files.
        method: how points are chosen, by default all of the grid.
        budget: how many points, for every method but the grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    accelerator: str
    workloads: Annotated[
        list[Annotated[str | Workload, BeforeValidator(parse_workload)]], Field(min_length=1)
    ]
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    together: list[Annotated[list[str], Field(min_length=2)]] = []
    phase: Literal["inference", "training"] = "inference"
    batch: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    constraints: list[str] = []
    derived: dict[str, str] = {}
    objectives: Annotated[dict[str, Literal["min", "max"]], Field(min_length=1)] = {
        "cycles": "min",
        "pes": "min",
    }
    measures: list[str] = []
    tables: list[Table] = []
    method: Annotated[Method, BeforeValidator(parse_method)] = Method()
    budget: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @property
    def runs_on(self) -> list[Workload]:
        """The workloads with phase, batch, seed and label filled in."""
        found = []
        for entry in self.workloads:
            work = Workload(name=entry) if isinstance(entry, str) else entry
            found.append(
                Workload(
                    name=work.name,
                    weight=work.weight,
                    phase=work.phase or self.phase,
                    batch=work.batch or self.batch,
                    seed=self.seed if work.seed is None else work.seed,
                    label=work.label or work.name,
                )
            )
        return found

    @property
    def mixed(self) -> bool:
        """The workloads have weights: a point is a configuration on all of them."""
        return any(work.weight is not None for work in self.runs_on)

    @property
    def method_seed(self) -> int:
        return self.seed if self.method.seed is None else self.method.seed


def load_spec(source: str | Path | Mapping[str, Any] | SweepSpec) -> SweepSpec:
    """A specification from a YAML file, a mapping or as it is.

    Files of tables are read into the specification, so that it stands alone.

    Raises:
        UserError: malformed YAML, an unknown field or measure, an empty list or range, a constraint
            that is no expression, fields that do not go together.
    """
    if isinstance(source, SweepSpec):
        return source
    folder = Path()
    if isinstance(source, Mapping):
        data, name = dict(source), "the sweep"
    else:
        name, folder = str(source), Path(source).parent
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"cannot read sweep {name}: {reason}") from None
        data = parse_yaml(text, name)
    tables = data.get("tables")
    if isinstance(tables, list):
        data["tables"] = [
            parse_table(t, folder, f"tables.{i}") if isinstance(t, Mapping) else t
            for i, t in enumerate(tables)
        ]
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        raise UserError(sentence(error, name, _fields_at(error))) from None
    _check(spec)
    return spec


def spec_schema() -> dict[str, Any]:
    """JSON Schema of a specification, for editors that check and complete YAML.

    A workload or method may also be just a name, and a parameter just a list, as the schema says.
    """
    schema = SweepSpec.model_json_schema()
    method = schema["properties"]["method"]
    names = schema["$defs"]["Method"]["properties"]["name"]["enum"]
    schema["properties"]["method"] = {
        "anyOf": [{"$ref": "#/$defs/Method"}, {"enum": names}],
        "default": method.get("default", {}).get("name", "grid"),
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "hwsim sweep"
    return schema


def _fields_at(error: ValidationError) -> list[str]:
    """The fields that stand where an unknown one was given."""
    loc = error.errors(include_url=False)[0]["loc"]
    return list(Table.model_fields if loc and loc[0] == "tables" else SweepSpec.model_fields)


def _check(spec: SweepSpec) -> None:
    from hwsim.config import load_config
    from hwsim.sweep_measures import Measures
    from hwsim.sweep_spec_axes import Space

    base = load_config(spec.accelerator)
    works = spec.runs_on
    if spec.mixed and any(work.weight is None for work in works):
        raise UserError("workloads: give a weight to every workload or to none")
    labels = [work.label for work in works]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"workloads: {label} is there twice; give each a label of its own")
    if spec.method.adaptive and len(works) > 1 and not spec.mixed:
        raise UserError(
            f"workloads: method {spec.method.name} needs one result a point, so that several "
            "workloads need weights"
        )
    if spec.method.name == "grid" and spec.budget is not None:
        raise UserError(
            f"budget: a grid runs all of its points, but got {spec.budget}; method random takes "
            "some of them"
        )
    if spec.method.name != "grid" and spec.budget is None:
        raise UserError(f"budget: method {spec.method.name} needs how many points it may run")
    space = Space(spec, base)
    if spec.method.name == "grid":
        space.check_grid(len(works))
    Measures(spec, base)
