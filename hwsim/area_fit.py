"""Fits the area model to synthesized points and tells how far it is from each of them.

For each target, resource and block the coefficients are those of least squares of the relative
error that are not negative (Lawson and Hanson's method, `scipy.optimize.nnls`): a term is hardware,
which takes room, and a sum of positive terms stays sensible at sizes that were
not synthesized. Parts come first; a core's own terms are fitted to what its parts leave.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from hwsim.area_laws import core_parts, core_unit, unit_part
from hwsim.area_model import CORES, RESOURCES, Coefficients, predict, resource_terms, value
from hwsim.area_points import area_points
from hwsim.config import Accelerator, load_config
from hwsim.files import write_text
from hwsim.synth_rows import Row

__all__ = ["AreaFit", "Residual", "fit_area", "fittable", "write_model"]


@dataclass(frozen=True, kw_only=True)
class Residual:
    """A point and what the model says of it.

    Attributes:
        point: preset, block and overrides.
        unit: of `hwsim.area_laws.unit_part`.
        role: `fit` or `check`.
        target, resource: of what.
        measured, modelled: counts.
    """

    point: str
    unit: str
    role: str
    target: str
    resource: str
    measured: float
    modelled: float

    @property
    def relative(self) -> float:
        """(modelled - measured) / measured, 0 where both are 0."""
        if self.measured == 0:
            return 0.0 if self.modelled == 0 else float("inf")
        return self.modelled / self.measured - 1


@dataclass(frozen=True, kw_only=True)
class AreaFit:
    """A fitted model and its distance from the points.

    Attributes:
        model: coefficients by target, resource, unit and term.
        residuals: one for each point and resource.
        tools: versions of the tools that made the points.
    """

    model: dict[str, dict[str, dict[str, Coefficients]]]
    residuals: list[Residual]
    tools: dict[str, str]

    def summary(self) -> list[dict[str, Any]]:
        """For each target, resource and unit: points, largest and root mean square error.

        Relative errors, of fitted and of unseen points apart.
        """
        groups: dict[tuple[str, str, str, str], list[float]] = {}
        for residual in self.residuals:
            if max(residual.measured, residual.modelled) > 0:
                key = (residual.target, residual.resource, residual.unit, residual.role)
                groups.setdefault(key, []).append(residual.relative)
        return [
            {
                "target": target,
                "resource": resource,
                "unit": unit,
                "role": role,
                "points": len(errors),
                "largest": max(errors, key=abs),
                "rms": float(np.sqrt(np.mean(np.square(errors)))),
            }
            for (target, resource, unit, role), errors in sorted(groups.items())
        ]


def fittable(rows: Iterable[Row]) -> list[Row]:
    """Rows of the presets and targets whose every block has most of its `fit` points.

    Three quarters of them: fewer leave a block's terms open, and a fit of them says nothing.
    """
    every = list(rows)
    wanted = Counter((p.preset, p.block) for p in area_points() if p.role == "fit")
    there = Counter(
        (row.target, row.point.preset, row.point.block) for row in every if row.point.role == "fit"
    )
    return [
        row
        for row in every
        if all(
            4 * there[row.target, preset, block] >= 3 * count
            for (preset, block), count in wanted.items()
            if preset == row.point.preset
        )
    ]


def fit_area(rows: Iterable[Row]) -> AreaFit:
    """Fit the model to rows with the role `fit`; residuals are of all.

    Raises:
        ValueError: there are no rows to fit.
    """
    points = [(row, load_config(row.point.preset, list(row.point.overrides))) for row in rows]
    if not any(row.point.role == "fit" for row, _ in points):
        raise ValueError("an area model needs rows with the role fit, but got none")
    model: dict[str, dict[str, dict[str, Coefficients]]] = {}
    residuals = []
    for target, resources in RESOURCES.items():
        here = [(row, config) for row, config in points if row.target == target]
        units = {_unit(row, config) for row, config in here}
        for resource in resources:
            fitted = model.setdefault(target, {}).setdefault(resource, {})
            for unit in sorted(units, key=lambda unit: (unit in CORES, unit)):  # parts first
                seen = [
                    (row, config)
                    for row, config in here
                    if _unit(row, config) == unit and row.point.role == "fit"
                ]
                if seen and (unit not in CORES or _has_parts(seen[0][1], fitted)):
                    fitted[unit] = _coefficients(seen, unit, target, resource, fitted)
        for row, config in here:
            unit = _unit(row, config)
            if unit not in model[target][resources[0]]:
                continue
            found = predict(model, config, unit, target)
            residuals += [
                Residual(
                    point=f"{row.point.preset} {row.point.block} {' '.join(row.point.overrides)}",
                    unit=unit,
                    role=row.point.role,
                    target=target,
                    resource=resource,
                    measured=row.counts[resource] or 0,
                    modelled=found[resource],
                )
                for resource in resources
            ]
    tools = dict.fromkeys(word for row, _ in points for word in [row.tools])
    versions = " ".join(tools).split()
    return AreaFit(
        model=model,
        residuals=residuals,
        tools=dict(zip(versions[::2], versions[1::2], strict=True)),
    )


def write_model(fit: AreaFit, path: str | Path) -> None:
    """Write the model as JSON: coefficients of six digits, the points' errors in summary.

    Raises:
        UserError: the file cannot be written.
    """
    rounded = {
        target: {
            resource: {
                unit: {term: float(f"{value:.6g}") for term, value in terms.items()}
                for unit, terms in units.items()
            }
            for resource, units in resources.items()
        }
        for target, resources in fit.model.items()
    }
    errors = [
        {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in entry.items()}
        for entry in fit.summary()
    ]
    entries = ",\n".join("  " + json.dumps(entry) for entry in errors)
    text = (
        f'{{"tools": {json.dumps(fit.tools)},\n"model": {json.dumps(rounded, indent=1)},\n'
        f'"errors": [\n{entries}\n]}}\n'
    )
    write_text(path, text)


def _unit(row: Row, config: Accelerator) -> str:
    block = row.point.block
    return core_unit(config) if block == "engine" else block


def _coefficients(
    points: Sequence[tuple[Row, Accelerator]],
    unit: str,
    target: str,
    resource: str,
    fitted: Mapping[str, Coefficients],
) -> Coefficients:
    listed = [
        resource_terms(unit_part(config, unit, target), target)[resource] for _, config in points
    ]
    names = list(dict.fromkeys(name for terms in listed for name in terms))
    if not names:
        return {}
    measured = np.array([row.counts[resource] or 0 for row, _ in points], float)
    wanted = measured.copy()
    if unit in CORES:
        wanted -= [_of_parts(fitted, config, target, resource) for _, config in points]
    weights = 1 / np.maximum(measured, 1)
    matrix = np.array([[terms.get(name, 0.0) for name in names] for terms in listed])
    scale = np.maximum(np.abs(matrix * weights[:, None]).max(axis=0), 1e-12)
    found, _ = nnls(matrix * weights[:, None] / scale, wanted * weights, maxiter=50 * len(names))
    return {
        name: float(value) for name, value in zip(names, found / scale, strict=True) if value > 0
    }


def _of_parts(
    units: Mapping[str, Coefficients], config: Accelerator, target: str, resource: str
) -> float:
    return sum(
        number
        * value(units[name], resource_terms(unit_part(config, name, target), target)[resource])
        for name, number in core_parts(config).items()
    )


def _has_parts(config: Accelerator, fitted: Mapping[str, Coefficients]) -> bool:
    return all(name in fitted for name in core_parts(config))
