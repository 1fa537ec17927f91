"""What a sweep is: a base configuration, fields and their values, workloads; and its points."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hwsim.config import Accelerator, SparseConfig, StreamConfig, load_config, replace, sentence
from hwsim.errors import UserError
from hwsim.workloads import load_network
from hwsim.yaml12 import parse_yaml

__all__ = ["Point", "SweepSpec", "load_spec", "points"]

_POINT_LIMIT = 1_000_000
Value = bool | int | float | str | None


class SweepSpec(BaseModel):
    """A grid over any fields of a configuration.

    Attributes:
        accelerator: preset or YAML file that every point starts from.
        workloads: as WORKLOAD of `hwsim simulate`; every point runs on each.
        parameters: values by dotted field path; their product is the grid.
        together: lists of fields that move in step instead, all with equally many values.
        phase: `inference`, or `training` for one step.
        batch, seed: as for `hwsim simulate`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    accelerator: str
    workloads: Annotated[list[str], Field(min_length=1)]
    parameters: Annotated[
        dict[str, Annotated[list[Value], Field(min_length=1)]], Field(min_length=1)
    ]
    together: list[Annotated[list[str], Field(min_length=2)]] = []
    phase: Literal["inference", "training"] = "inference"
    batch: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep.

    Attributes:
        key: hash of everything that decides the result, the code's version included.
        workload: zoo name or file.
        values: the swept fields.
        config: fully resolved; None when the values break a rule.
        error: that rule, as a sentence.
    """

    key: str
    workload: str
    values: dict[str, Value]
    config: Accelerator | None
    error: str = ""


def load_spec(source: str | Path | Mapping[str, Any] | SweepSpec) -> SweepSpec:
    """A specification from a YAML file, a mapping or as it is.

    Raises:
        UserError: malformed YAML, an unknown field, an empty list, fields that do not go together.
    """
    if isinstance(source, SweepSpec):
        return source
    if isinstance(source, Mapping):
        data, name = dict(source), "the sweep"
    else:
        name = str(source)
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"cannot read sweep {name}: {reason}") from None
        data = parse_yaml(text, name)
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        raise UserError(sentence(error, name, list(SweepSpec.model_fields))) from None
    _check(spec)
    return spec


def points(spec: SweepSpec) -> list[Point]:
    """Every point in order, equal ones once.

    Raises:
        UserError: a workload cannot be loaded, or there are more than a million points.
    """
    base = load_config(spec.accelerator)
    identities = {name: _identity(name, base, spec) for name in spec.workloads}
    found: dict[str, Point] = {}
    for values in _grid(spec):
        config, error = None, ""
        try:
            config = replace(base, values)
        except UserError as problem:
            error = str(problem)
        what = config.model_dump(mode="json") if config is not None else values
        for workload in spec.workloads:
            key = _key(spec, identities[workload], what)
            point = Point(key=key, workload=workload, values=values, config=config, error=error)
            found.setdefault(key, point)
    return list(found.values())


def _identity(workload: str, base: Accelerator, spec: SweepSpec) -> str:
    """What a workload is, whatever its file is called; it is read once to see that it can be."""
    if not isinstance(base, SparseConfig | StreamConfig):
        return load_network(workload, batch=spec.batch, seed=spec.seed).source
    if spec.phase != "inference" or spec.batch != 1:
        raise UserError(
            f"accelerator {base.name} takes no phase and no batch: they are for networks of dense "
            "layers"
        )
    if isinstance(base, StreamConfig):
        return workload  # its example; what it is belongs to the version of the code
    from hwsim.workloads_sparse import load_sparse

    seen = hashlib.sha256()
    for product in load_sparse(workload, base.op, spec.seed).products:
        for matrix in (product.a, product.b):
            for array in (matrix.indptr, matrix.indices, matrix.data):
                seen.update(np.ascontiguousarray(array).data)
    return f"{workload} {seen.hexdigest()}"


def _check(spec: SweepSpec) -> None:
    base = load_config(spec.accelerator)
    fields = _paths(base.model_dump())
    for path in spec.parameters:
        if path not in fields:
            known = ", ".join(sorted(fields))
            raise UserError(f"parameters.{path}: there is no such field; those here are {known}")
    seen: set[str] = set()
    for group in spec.together:
        for path in group:
            if path not in spec.parameters:
                raise UserError(f"together: {path} is not among the parameters")
            if path in seen:
                raise UserError(f"together: {path} is named twice")
            seen.add(path)
        lengths = {path: len(spec.parameters[path]) for path in group}
        if len(set(lengths.values())) > 1:
            raise UserError(
                "together: fields that move in step need equally many values, but got "
                + ", ".join(f"{n} of {path}" for path, n in lengths.items())
            )
    count = len(spec.workloads)
    for axis in _axes(spec):
        count *= len(axis)
    if count > _POINT_LIMIT:
        raise UserError(f"a sweep may have at most {_POINT_LIMIT:,} points, but got {count:,}")


def _paths(data: Mapping[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in data.items():
        if isinstance(value, dict):
            found |= _paths(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "kind":
            found.add(f"{prefix}{name}")
    return found


def _axes(spec: SweepSpec) -> list[list[dict[str, Value]]]:
    """One list of settings for each independent axis of the grid."""
    grouped = {path for group in spec.together for path in group}
    axes = [
        [{path: value} for value in values]
        for path, values in spec.parameters.items()
        if path not in grouped
    ]
    for group in spec.together:
        columns = [spec.parameters[path] for path in group]
        axes.append([dict(zip(group, row, strict=True)) for row in zip(*columns, strict=True)])
    return axes


def _grid(spec: SweepSpec) -> list[dict[str, Value]]:
    return [
        {key: value for part in parts for key, value in part.items()}
        for parts in itertools.product(*_axes(spec))
    ]


def _key(spec: SweepSpec, identity: str, config: Mapping[str, Any]) -> str:
    import hwsim

    what = {
        "config": config,
        "workload": identity,
        "phase": spec.phase,
        "batch": spec.batch,
        "seed": spec.seed,
        "version": hwsim.__version__,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
