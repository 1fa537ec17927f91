"""Arithmetic and comparisons over named numbers, read safely: constraints and derived objectives.

The text is parsed with Python's own grammar and then walked; nothing of it is ever executed as
Python. Names are dotted: fields of a configuration (`dram.bytes_per_cycle`), measures of a result
(`cycles`) and counters (`sat.stce.mac`). What may appear: numbers, text, `true`, `false`, `none`,
lists, `+ - * / // % **`, comparisons, `in`, `is none`, `and`, `or`, `not`, `a if b else c`, and the
functions of `FUNCTIONS`.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from hwsim.errors import UserError

__all__ = ["FUNCTIONS", "Expression"]

Lookup = Callable[[str], Any]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
"""Functions that an expression may call, all without keywords."""

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_LENGTH_LIMIT = 2000  # not given; chosen because a constraint of a screenful is a mistake
_DEPTH_LIMIT = 60  # not given; chosen far below Python's own limit of recursion
_BITS_LIMIT = 4096  # not given; chosen because counts have 64 bits: 9**9**9 must not hang a sweep

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class Expression:
    """A parsed expression.

    Attributes:
        text: as it was given.
        names: every dotted name in it, sorted.

    Raises:
        UserError: it is not an expression, or has something in it that is not allowed.
    """

    def __init__(self, text: str, what: str = "expression") -> None:
        """`what` is said before the text in error messages, a field of the specification."""
        if len(text) > _LENGTH_LIMIT:
            raise UserError(f"{what}: at most {_LENGTH_LIMIT} characters, but got {len(text)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd escape in a text is no concern of ours
                tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UserError(f"{what}: {text!r} is not an expression") from None
        self.text = text
        self._what = what
        self._tree = tree
        self.names = sorted(set(self._check(tree, 0)))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def value(self, lookup: Lookup) -> Any:
        """What it gives.

        Args:
            lookup: value of a name; may raise UserError.

        Raises:
            UserError: a division by zero, a comparison with none, a number out of range.
        """
        try:
            return self._value(self._tree, lookup)
        except UserError:
            raise
        except (ArithmeticError, TypeError, ValueError) as error:
            known = ", ".join(f"{name}={_shown(name, lookup)}" for name in self.names)
            raise UserError(
                f"{self._what}: {self.text!r} has no value for {known or 'its constants'}: {error}"
            ) from None

    def holds(self, lookup: Lookup) -> bool:
        """Whether it gives something true; see `value`."""
        return bool(self.value(lookup))

    def _check(self, node: ast.AST, depth: int) -> Iterator[str]:
        """Names in a part of the tree, after a look at every node of it."""
        if depth > _DEPTH_LIMIT:
            raise UserError(f"{self._what}: {self.text!r} is nested too deep")
        name = _name(node)
        if name is not None:
            if name not in _WORDS:
                yield name
            return
        match node:
            case ast.Constant(value=value) if isinstance(value, bool | int | float | str | None):
                parts: list[ast.AST] = []
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
                parts = [operand]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY or isinstance(
                op, ast.Pow
            ):
                parts = [left, right]
            case ast.BoolOp(values=values):
                parts = list(values)
            case ast.Compare(left=left, comparators=others):
                parts = [left, *others]
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                parts = [test, body, otherwise]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = list(items)
            case ast.Call(func=ast.Name(id=function), args=args, keywords=[]) if (
                function in FUNCTIONS and args
            ):
                parts = list(args)
            case ast.Call(func=ast.Name(id=function)):
                known = ", ".join(FUNCTIONS)
                raise UserError(
                    f"{self._what}: functions are {known}, with plain arguments, but got "
                    f"{function} in {self.text!r}"
                )
            case _:
                raise UserError(
                    f"{self._what}: {type(node).__name__} is not allowed in {self.text!r}"
                )
        for part in parts:
            yield from self._check(part, depth + 1)

    def _value(self, node: ast.AST, lookup: Lookup) -> Any:
        name = _name(node)
        if name is not None:
            return _WORDS[name] if name in _WORDS else lookup(name)
        match node:
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=op, operand=operand):
                got = self._value(operand, lookup)
                if isinstance(op, ast.Not):
                    return not got
                return -got if isinstance(op, ast.USub) else +got
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._value(left, lookup), self._value(right, lookup)
                if isinstance(op, ast.Pow):
                    return _power(a, b)
                return _bounded(_BINARY[type(op)](_number(a), _number(b)))
            case ast.BoolOp(op=op, values=values):
                got = None
                for part in values:
                    got = self._value(part, lookup)
                    if bool(got) == isinstance(op, ast.Or):
                        break
                return got
            case ast.Compare(left=left, ops=ops, comparators=others):
                a = self._value(left, lookup)
                for compare, other in zip(ops, others, strict=True):
                    b = self._value(other, lookup)
                    if not _COMPARE[type(compare)](a, b):
                        return False
                    a = b
                return True
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return self._value(body if self._value(test, lookup) else otherwise, lookup)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item, lookup) for item in items]
            case ast.Call(func=ast.Name(id=function), args=args):
                return FUNCTIONS[function](*(self._value(arg, lookup) for arg in args))
        raise AssertionError(node)  # `_check` let nothing else through


def _name(node: ast.AST) -> str | None:
    """The dotted name that a node is, if it is one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _name(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return None


def _number(value: Any) -> Any:
    """A number; text and lists have no arithmetic (a repeated text could fill the memory)."""
    if isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{value!r} is not a number")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _BITS_LIMIT:
        raise OverflowError("the number is too large")
    return value


def _power(base: Any, exponent: Any) -> Any:
    base, exponent = _number(base), _number(exponent)
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(exponent) * max(1, base.bit_length()) > _BITS_LIMIT:
        raise OverflowError("the number is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("a root of a negative number")
    return result


def _shown(name: str, lookup: Lookup) -> str:
    try:
        return repr(lookup(name))
    except UserError:
        return "?"
