"""Expressions of a sweep: what they give, what they refuse, and that they never run code."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import UserError
from hwsim.sweep_expression import FUNCTIONS, Expression

NAMES = {"rows": 8, "dram.bytes_per_cycle": 96.0, "sparsity": "2:8", "group": None, "zero": 0}


def lookup(name):
    if name not in NAMES:
        raise UserError(f"{name}: there is no such name")
    return NAMES[name]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("rows * 2 + 1", 17),
        ("rows ** 2 // 3 % 5", 1),
        ("-rows", -8),
        ("dram.bytes_per_cycle / rows", 12.0),
        ("sparsity == '2:8' and rows >= 8", True),
        ("sparsity in ['dense', '2:4']", False),
        ("group is none or group > 4", True),
        ("group is not None", False),
        ("1 < rows <= 8", True),
        ("1 < rows < 8 < zero", False),
        ("not (rows == 8)", False),
        ("rows if sparsity == 'dense' else rows * 4", 32),
        ("max(rows, 3) + min(1, 2) + abs(-1) + ceil(0.5) + floor(1.5) + round(1.4)", 13),
        ("sqrt(4) + log2(8) + log(1) + exp(0)", 6.0),
        ("zero == 0 or rows / zero > 1", True),  # the rest is not looked at
        ("true and not false", True),
    ],
)
def test_values(text, want):
    assert Expression(text).value(lookup) == want
    assert Expression(text).holds(lookup) == bool(want)


def test_names_are_dotted_and_functions_are_not_names():
    found = Expression("max(rows, dram.bytes_per_cycle) > a.b.c and none is null").names
    assert found == ["a.b.c", "dram.bytes_per_cycle", "rows"]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "rows.bit_length()",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "rows[0]",
        "{'a': 1}",
        "f'{rows}'",
        "(rows := 3)",
        "open('/etc/passwd')",
        "max(*[1, 2])",
        "max(rows, key=abs)",
        "max()",
        "rows | 1",
        "1j",
        "b'x'",
        "...",
        "rows; rows",
        "rows =",
        "",
        "import os",
        "1 +" * 400 + "1 +",
        "(" * 300 + "1" + ")" * 300,
        "-" * 100 + "1",
        "1" * 3000,
    ],
)
def test_everything_else_is_refused_in_one_sentence(text):
    with pytest.raises(UserError) as caught:
        Expression(text, "constraints")
    assert str(caught.value).startswith("constraints: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rows / zero", "division by zero"),
        ("group > 4", "'>' not supported between"),
        ("9 ** 9 ** 9", "too large"),
        ("9 ** -9999999999", "too large"),
        ("(2 ** 4000) * (2 ** 4000)", "too large"),
        ("2.0 ** 99999", "out of range"),
        ("(-8) ** 0.5", "root of a negative"),
        ("sqrt(-1)", ""),
        ("sparsity * 1000000000", "not a number"),
        ("sparsity < 3", "not supported"),
    ],
)
def test_what_has_no_value_says_so_with_the_numbers(text, problem):
    with pytest.raises(UserError) as caught:
        Expression(text).value(lookup)
    assert problem in str(caught.value)
    assert "has no value for" in str(caught.value)


def test_an_unknown_name_is_the_lookups_error():
    with pytest.raises(UserError, match="colour: there is no such name"):
        Expression("colour > 1").value(lookup)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_user_error(text):
    try:
        expression = Expression(text)
    except UserError:
        return
    with contextlib.suppress(UserError):
        expression.value(lambda name: 3)


LEAVES = st.sampled_from(["a", "b.c", "3", "0.5", "7"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "<", ">=", "==", "and", "or"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(st.sampled_from(["abs", "floor"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        inner.map(lambda text: f"(not {text})"),
    ),
    max_leaves=12,
)


class Dotted:
    c = 5


@given(TREES, st.integers(-9, 9))
def test_the_same_as_python(text, a):
    names = {"a": a, "b.c": 5}
    want = eval(text, {**FUNCTIONS, "a": a, "b": Dotted, "__builtins__": {}})
    got = Expression(text).value(names.__getitem__)
    assert got == want or (math.isnan(got) and math.isnan(want))
