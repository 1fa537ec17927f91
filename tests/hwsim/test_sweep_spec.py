"""Specifications of sweeps: ranges, conditions, tables, mixes, the schema, and bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.sweep_measures import Measures
from hwsim.sweep_methods import make_sampler
from hwsim.sweep_points import Maker
from hwsim.sweep_spec import SweepSpec, load_spec, spec_schema
from hwsim.sweep_spec_axes import Space
from hwsim.sweep_spec_parts import Range

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = {"accelerator": "sat", "workloads": ["resnet9"], "parameters": {"rows": [4, 8]}}
TABLE = {"rows": [{"r": 4, "a": 1}], "match": {"rows": "r"}, "measures": {"a": "a"}}


def space_of(parameters, **more):
    spec = load_spec(SPEC | {"parameters": parameters} | more)
    return Space(spec, load_config(spec.accelerator))


@pytest.mark.parametrize(
    ("given_range", "want"),
    [
        ({"low": 3, "high": 6}, [3, 4, 5, 6]),
        ({"low": 3, "high": 8, "step": 2}, [3, 5, 7]),
        ({"low": 8, "high": 64, "factor": 2}, [8, 16, 32, 64]),
        ({"low": 8, "high": 100, "factor": 2}, [8, 16, 32, 64]),
        ({"low": 1, "high": 1000, "points": 4, "log": True}, [1, 10, 100, 1000]),
        ({"low": 0.5, "high": 1.5, "points": 3}, [0.5, 1.0, 1.5]),
        ({"low": 0.1, "high": 0.7, "step": 0.2}, [0.1, 0.3, 0.5, 0.7]),
        ({"low": 1, "high": 3, "points": 5}, [1, 2, 3]),  # 1.5 and 2.5 are no whole numbers
        ({"low": 5, "high": 5}, [5]),
        ({"low": 0.5, "high": 2.0}, None),
        ({"low": 64, "high": 8192, "log": True}, None),
    ],
)
def test_ranges(given_range, want):
    assert Range.model_validate(given_range).listed() == want


@given(
    st.integers(1, 10**6), st.integers(0, 10**6), st.integers(2, 300), st.booleans(), st.booleans()
)
def test_points_of_a_range_are_rising_and_keep_its_ends(low, length, points, log, fractions):
    scale = 0.5 if fractions else 1
    one = Range(low=low * scale, high=(low + length) * scale, points=points, log=log)
    values = one.listed()
    assert values[0] == one.low
    assert values[-1] == one.high
    assert values == sorted(set(values))
    assert len(values) <= points
    assert fractions or all(isinstance(v, int) for v in values)


def test_a_condition_takes_its_axis_out_of_the_grid():
    space = space_of(
        {
            "dataflow": ["os", "ws"],
            "psum_depth": {"values": [128, 256], "when": "dataflow == 'ws'"},
            "interleave": {"low": 1, "high": 2, "when": "dataflow == 'os'", "otherwise": 4},
        }
    )
    assert [tuple(v.values()) for v in space.grid()] == [
        ("os", 512, 1), ("os", 512, 2), ("ws", 128, 4), ("ws", 256, 4),
    ]  # fmt: skip


def test_shares_choose_values():
    space = space_of(
        {
            "rows": [4, 8, 16],
            "dram.bytes_per_cycle": {"low": 10.0, "high": 1000.0, "log": True},
            "vector_lanes": {"low": 1, "high": 1024, "log": True},
        },
        method="random",
        budget=1,
    )
    assert space.at([0.0, 0.0, 0.0]) == {
        "rows": 4, "dram.bytes_per_cycle": 10.0, "vector_lanes": 1,
    }  # fmt: skip
    assert space.at([0.99, 0.5, 0.5]) == {
        "rows": 16, "dram.bytes_per_cycle": pytest.approx(100), "vector_lanes": 32,
    }  # fmt: skip
    assert space.size is None


def test_constraints_on_fields_keep_points_from_running():
    spec = load_spec(
        SPEC
        | {
            "parameters": {"rows": [4, 8, 16], "cols": [4, 8, 16]},
            "constraints": ["rows * cols <= 64", "pes > 16 or sparsity == 'dense'"],
        }
    )
    points = make_sampler(spec, Maker(spec)).ask()
    allowed = [p for p in points if not p.status]
    sizes = [(p.values["rows"], p.values["cols"]) for p in allowed]
    assert sizes == [(4, 8), (4, 16), (8, 4), (8, 8), (16, 4)]
    assert all(len(p.runs) == 1 for p in allowed)
    others = [p for p in points if p.status]
    assert len(points) == 9
    assert all(p.status == "infeasible" and not p.runs for p in others)
    assert others[0].error == "constraint pes > 16 or sparsity == 'dense' does not hold"


def test_a_table_gives_measures_by_fields(tmp_path):
    (tmp_path / "a.csv").write_text(
        "net,pattern,accuracy\ncnn,2:4,0.8\ncnn,2:4,0.6\ncnn,2:8,0.5\nvit,2:4,0.1\ncnn,,0.9\n"
    )
    (tmp_path / "s.yaml").write_text(
        """
accelerator: sat
workloads: [resnet9]
parameters: {sparsity: ["2:4", "2:8", dense]}
tables:
  - {file: a.csv, match: {sparsity: pattern}, measures: {accuracy: accuracy}, where: {net: cnn}}
objectives: {cycles: min, accuracy: max}
constraints: [accuracy > 0.65]
"""
    )
    spec = load_spec(tmp_path / "s.yaml")
    assert spec.tables[0].file is None  # the specification stands alone
    maker = Maker(spec)
    points = make_sampler(spec, maker).ask()
    # the empty cell fits every pattern: 0.8, 0.6, 0.9 of 2:4 and so on
    assert [p.design["accuracy"] for p in points] == pytest.approx([2.3 / 3, 0.7, 0.9])
    assert [p.status for p in points] == ["", "", ""]
    assert load_spec(spec.model_dump()) == spec


def test_defaults_and_names_in_one_word():
    spec = load_spec(SPEC | {"method": "random", "budget": 3})
    assert spec.method.name == "random"
    assert spec.objectives == {"cycles": "min", "pes": "min"}
    assert not spec.mixed
    assert [w.label for w in spec.runs_on] == ["resnet9"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"parameters": {"rows": {"low": 8, "high": 4}}},
         "parameters.rows: low must not be above high, but got low=8 and high=4"),
        ({"parameters": {"rows": {"low": 8}}}, "parameters.rows: high: this field is required"),
        ({"parameters": {"rows": {"values": []}}}, "parameters.rows: values: list should have at"),
        ({"parameters": {"rows": []}}, "parameters.rows: list should have at least 1 item"),
        ({"parameters": {"rows": 8}}, "parameters.rows: it must be a list, or a mapping"),
        ({"parameters": {"rows": {"step": 8}}}, "parameters.rows: a mapping needs values, or low"),
        ({"parameters": {"rows": {"low": 1, "high": 9, "setp": 2}}},
         "parameters.rows: setp: there is no such field; those here are low, high, step"),
        ({"parameters": {"rows": {"low": 1, "high": 9, "step": 0}}}, "rows: step: input should be"),
        ({"parameters": {"rows": {"low": 1, "high": 9, "step": 2, "points": 3}}}, "at most one of"),
        ({"parameters": {"rows": {"low": 0, "high": 9, "factor": 2}}}, "must start above 0"),
        ({"parameters": {"rows": {"low": 1, "high": 9, "step": 2, "log": True}}}, "log goes with"),
        ({"parameters": {"rows": {"low": 1, "high": 10**7}}}, "at most 100,000 values"),
        ({"parameters": {"dram.bytes_per_cycle": {"low": 1.0, "high": 9.0}}},
         "parameters.dram.bytes_per_cycle: a grid needs step, factor or points"),
        ({"parameters": {"rows": {"values": [4], "when": "cols == 4"}, "cols": [4]}},
         "parameters.rows.when: cols must stand before rows among the parameters"),
        ({"parameters": {"rows": {"values": [4], "when": "colour == 4"}}}, "no field colour"),
        ({"parameters": {"rows": {"values": [4], "when": "1 +"}}}, "rows.when: '1 +' is not an"),
        ({"parameters": {"cols": [4], "rows": {"values": [4], "when": "group is none"}},
          "together": [["cols", "rows"]]}, "together: rows has a condition"),
        ({"constraints": ["rows <"]}, "constraints.0: 'rows <' is not an expression"),
        ({"constraints": ["rwos < 3"]}, "constraints.0: there is no field or measure rwos; rows"),
        ({"constraints": ["1 > 2"]}, "constraints.0: '1 > 2' never holds"),
        ({"constraints": ["rows < 0"]}, "none of the 2 points is allowed: constraint rows < 0"),
        ({"constraints": ["rows < 0"], "method": "random", "budget": 1},
         "none of the points that were tried is allowed: constraint rows < 0 does not hold"),
        ({"constraints": ["rows < 0"], "method": "lhs", "budget": 1}, "none of the points"),
        ({"constraints": ["rows < 0"], "method": "tpe", "budget": 1}, "none of the points"),
        ({"constraints": ["rows < 0"], "method": "nsga2", "budget": 1}, "none of the points"),
        ({"constraints": ["__import__('os')"]}, "constraints.0: functions are abs"),
        ({"objectives": {"cycels": "min"}}, "there is no field or measure cycels; cycles is near"),
        ({"objectives": {"cycles": "smallest"}}, "objectives.cycles: input should be 'min' or"),
        ({"objectives": {}}, "objectives: dictionary should have at least 1 item"),
        ({"derived": {"cycles": "1"}}, "derived.cycles: there is already a field or measure"),
        ({"derived": {"a": "b", "b": "cycles"}}, "derived.a: there is no field or measure b"),
        ({"measures": ["sat.stce.mca"]}, "measures: there is no field or measure sat.stce.mca"),
        ({"method": "magic"}, "method: name: input should be 'grid', 'random', 'lhs'"),
        ({"method": "random"}, "budget: method random needs how many points it may run"),
        ({"budget": 3}, "budget: a grid runs all of its points, but got 3"),
        ({"method": {"name": "grid", "population": 8}}, "population is for nsga2 and nsga3"),
        ({"method": {"name": "nsga2", "batch": 8}, "budget": 9}, "batch is for tpe"),
        ({"method": "nsga2", "budget": 9, "workloads": ["resnet9", "resnet18"]},
         "method nsga2 needs one result a point"),
        ({"workloads": [{"name": "resnet9", "weight": 1}, "resnet18"]}, "give a weight to every"),
        ({"workloads": [{"name": "resnet9", "weight": 0}]}, "weight: input should be greater"),
        ({"workloads": [{"nmae": "resnet9"}]}, "name: this field is required"),
        ({"workloads": ["resnet9", "resnet9"]}, "workloads: resnet9 is there twice"),
        ({"tables": [{"match": {"rows": "r"}, "measures": {"a": "a"}}]}, "a table needs either"),
        ({"tables": [{"file": "none.csv", "match": {"rows": "r"}, "measures": {"a": "a"}}]},
         "tables.0.file: cannot read none.csv: No such file"),
        ({"tables": [TABLE | {"match": {"rwos": "r"}}]},
         "tables.0.match: there is no field rwos"),
        ({"tables": [TABLE | {"measures": {"pes": "a"}}]},
         "tables.0.measures: pes is taken"),
    ],
)  # fmt: skip
def test_bad_specifications(change, text):
    with pytest.raises(UserError) as caught:
        spec = load_spec(SPEC | change)
        make_sampler(spec, Maker(spec)).ask()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_its_column(tmp_path):
    (tmp_path / "a.csv").write_text("r,b\n4,1\n")
    (tmp_path / "s.yaml").write_text(
        "accelerator: sat\nworkloads: [resnet9]\nparameters: {rows: [4]}\n"
        "tables: [{file: a.csv, match: {rows: r}, measures: {a: a}}]\n"
    )
    with pytest.raises(UserError, match=r"tables.0: a.csv has no column 'a'; those there are r, b"):
        load_spec(tmp_path / "s.yaml")


def test_a_row_that_is_missing_fails_its_point_alone():
    spec = load_spec(SPEC | {"tables": [TABLE]})
    first, second = make_sampler(spec, Maker(spec)).ask()
    assert (first.status, first.design["a"]) == ("", 1)
    assert (second.status, second.error) == ("failed", "tables: no row of a fits rows=8")


def test_the_schema_knows_every_key_and_takes_the_examples():
    schema = spec_schema()
    assert set(schema["properties"]) == set(SweepSpec.model_fields)
    assert schema["additionalProperties"] is False
    json.dumps(schema)
    jsonschema = pytest.importorskip("jsonschema")
    from hwsim.yaml12 import parse_yaml

    checker = jsonschema.Draft202012Validator(schema)
    for path in sorted(EXAMPLES.glob("*sat*.yaml")):
        checker.validate(parse_yaml(path.read_text(), path.name))
    for bad in ({}, SPEC | {"colour": 1}, SPEC | {"parameters": {"rows": 4}}, SPEC | {"budget": 0}):
        assert list(checker.iter_errors(bad))


def test_the_example_has_a_thousand_points_and_an_accuracy():
    spec = load_spec(EXAMPLES / "sat_resnet18.yaml")
    space = Space(spec, load_config(spec.accelerator))
    assert space.size == 1152
    assert len(list(space.grid())) == 1152
    measures = Measures(spec, load_config("sat"))
    assert measures.design(load_config("sat", ["sparsity=2:8"]))["accuracy"] == pytest.approx(
        (0.9056 + 0.9016 + 0.9057) / 3
    )  # bdwp 2:8 in docs/data/training.csv
