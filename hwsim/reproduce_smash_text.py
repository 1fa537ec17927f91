"""The reproduction of SMASH in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwsim.reproduce_smash import SmashStudy

__all__ = ["reached_sentence", "short", "study_lines"]


def study_lines(study: SmashStudy) -> list[str]:
    """Tables, the published figure beside ours, and where it is reached."""
    from hwsim.reproduce_smash import PUBLISHED

    goal, ratio = PUBLISHED["speedup"], study.speedup("v1")
    lines = [f"{'input':34} {'multiplies':>12} {'nnz C':>12}  V3 speedup over"]
    lines.append(" " * 61 + "".join(f"{k:>8}" for k in ("v1", "v2", "outer", "inner")))
    for row in study.inputs:
        cells = "".join(_ratio(row[f"v3_over_{k}"]) for k in ("v1", "v2", "outer", "inner"))
        lines.append(
            f"{short(row['input'])[:34]:34} {row['multiplies']:>12,} {row['nnz_c']:>12,}{cells}"
        )
    if ratio is not None:
        lines.append(
            f"V3 over V1 on {study.headline}: {ratio:.2f}; "
            f"published {goal} ({ratio / goal - 1:+.0%})"
        )
    prior = study.prior
    if prior["compared"]:
        each = ", ".join(f"{k} {s:.2f}" for k, s in prior["on_headline_input"].items())
        small = ", ".join(f"{k} {s:.2f}" for k, s in prior["on_study_input"].items())
        lines.append(
            f"V3 over prior dataflows on this machine: {each}; on the small input: {small}"
        )
    lines.append("from V1 to V3:")
    for row in study.mechanisms:
        lines.append(
            f"  {row['mechanism']:18} {row['cycles']:>13,} cycles, "
            f"{row['speedup_over_v1']:5.2f} times as fast as V1, "
            f"{row['probes_per_insert']:.2f} probes a product, "
            f"threads have work {row['active_share']:.0%} of the time"
        )
    base = study.base["speedup_v3_over_v1"]
    lines.append(f"one unknown moved at a time, V3 over V1 on the small input ({base:.2f}):")
    for low, high in _pairs(study.sensitivity):
        lines.append(
            f"  {low['label']:26} {_text(low['value'])} to {_text(high['value'])}: "
            f"{low['speedup_v3_over_v1']:.2f} to {high['speedup_v3_over_v1']:.2f}"
        )
    lines.append(reached_sentence(study))
    return lines


def reached_sentence(study: SmashStudy) -> str:
    """Whether and where the published figure is reached."""
    found = study.reached
    goal = f"{found['goal']} within {found['within']:.0%}"
    if found["with_the_preset"]:
        return f"{goal} is reached with the preset"
    if found["by_one_unknown"]:
        where = "; ".join(
            f"{row['varied']}={_text(row['value'])} ({row['speedup_v3_over_v1']:.2f})"
            for row in found["by_one_unknown"]
        )
        return f"{goal} is not reached with the preset; on the small input by one unknown: {where}"
    if found["by_several"]:
        row = found["by_several"][0]
        return (
            f"{goal} is not reached with the preset or by one unknown, but by {row['moved']} moved "
            f"together: {row['unknowns']} ({row['speedup_v3_over_v1']:.2f})"
        )
    return f"{goal} is not reached anywhere in the ranges; the most is {found['most_found']:.2f}"


def short(name: str) -> str:
    """A workload as a table names it: a file without its folder."""
    return name.rpartition("/")[2]


def _pairs(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Low and high row of each unknown, the widest first."""
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    key = "speedup_v3_over_v1"
    return sorted(pairs, key=lambda pair: -abs(pair[0][key] - pair[1][key]))


def _ratio(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>8.2f}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
