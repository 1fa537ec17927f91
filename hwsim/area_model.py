"""The area model's terms and coefficients put together; `hwsim.area_fit` finds the coefficients."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.area_laws import Part, core_parts, unit_part
from hwsim.config import Accelerator

__all__ = [
    "CORES",
    "MODEL_FILE",
    "RESOURCES",
    "Coefficients",
    "Model",
    "predict",
    "resource_terms",
    "value",
]

MODEL_FILE = "area_model.json"
RESOURCES = {
    "xcup": ("lut", "ff", "dsp", "bram"),
    "ecp5": ("lut", "ff", "dsp", "bram"),
    "generic": ("gates", "ff", "transistors", "memory_bits"),
}
"""Resources of the model by target."""
CORES = ("stce", "engine", "layer", "gru")
"""Units that are whole cores; their own terms are of what joins their parts."""

Coefficients = dict[str, float]
"""By term."""
Model = Mapping[str, Mapping[str, Mapping[str, Coefficients]]]
"""Coefficients by target, resource, unit and term."""


def predict(model: Model, config: Accelerator, unit: str, target: str) -> dict[str, float]:
    """What the model says of a block by resource, its parts included where it is a core.

    Raises:
        KeyError: the model has no such target or block.
    """
    units = {unit: 1}
    if unit in CORES:
        units |= core_parts(config)
    total = dict.fromkeys(RESOURCES[target], 0.0)
    for name, number in units.items():
        terms = resource_terms(unit_part(config, name, target), target)
        for resource in total:
            total[resource] += number * value(model[target][resource][name], terms[resource])
    return total


def resource_terms(part: Part, target: str) -> dict[str, Mapping[str, float]]:
    """The terms of a block by resource."""
    memories = {"block RAMs": part.block_rams(target)}
    special: dict[str, Mapping[str, float]] = {
        "dsp": part.multipliers,
        "bram": memories,
        "memory_bits": memories,
    }
    return {resource: special.get(resource, part.terms) for resource in RESOURCES[target]}


def value(coefficients: Coefficients, terms: Mapping[str, float]) -> float:
    """Sum of coefficients times terms; a term without a coefficient takes nothing."""
    return sum(coefficients.get(term, 0.0) * number for term, number in terms.items())
