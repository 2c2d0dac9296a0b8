"""Expressions of the plane: from text to a program for the core's stack machine.

A tokenizer and a parser of operator precedence (Pratt 1973); nothing is ever evaluated as Python.

    expression  = choice
    choice      = or [ "?" choice ":" choice ]
    or          = and { "||" and }            and        = equality { "&&" equality }
    equality    = order { ("=="|"!=") order } order      = sum { ("<"|"<="|">"|">=") sum }
    sum         = product { ("+"|"-") product }
    product     = sign { ("*"|"/"|"%") sign }
    sign        = ("-"|"+"|"!") sign | power
    power       = atom [ ("^"|"**") sign ]
    atom        = number | name | name "(" expression { "," expression } ")" | "(" expression ")"
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastsynth import _core
from fastsynth._errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Program = tuple[NDArray[np.int32], NDArray[np.float64]]

__all__ = ["CONSTANTS", "Call", "Node", "Number", "compile_expression", "functions", "parse"]

MAX_LENGTH = 10_000
MAX_DEPTH = 60  # of parentheses, calls and right sides
MAX_HEIGHT = 250  # of the tree: chains such as a + b + c + … make it high
VARIABLES = ("x", "y", "r", "theta", "t")
CONSTANTS = {"pi": math.pi, "tau": math.tau, "e": math.e, "phi": (1 + math.sqrt(5)) / 2}

# How strongly an operator binds its left side; what its right side must bind more strongly than;
# and the operation.
_INFIX = {
    "?": (1, 0, "where"),
    "||": (2, 2, "or_"),
    "&&": (3, 3, "and_"),
    "==": (4, 4, "equal"),
    "!=": (4, 4, "not_equal"),
    "<": (5, 5, "less"),
    "<=": (5, 5, "less_equal"),
    ">": (5, 5, "less"),
    ">=": (5, 5, "less_equal"),
    "+": (6, 6, "add"),
    "-": (6, 6, "subtract"),
    "*": (7, 7, "multiply"),
    "/": (7, 7, "divide"),
    "%": (7, 7, "mod"),
    "^": (10, 9, "pow"),
    "**": (10, 9, "pow"),
}
_SIGN = 8
_SYNTAX_ONLY = {
    "constant",
    "negate",
    "not_",
    "integer_power",
    "add",
    "subtract",
    "multiply",
    "divide",
    *(name for _, _, name in _INFIX.values() if name not in ("where", "mod", "pow")),
    *VARIABLES,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<symbol>\*\*|\|\||&&|==|!=|<=|>=|[-+*/%^<>?:!(),]))",
    re.ASCII,
)


@dataclass(frozen=True)
class Number:
    """A number, finite and at least 0."""

    value: float

    @property
    def height(self) -> int:
        """Levels of the tree."""
        return 1

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Call:
    """An operation of the core with its operands; variables have none."""

    operation: str
    operands: tuple[Node, ...] = ()
    height: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        above = max((operand.height for operand in self.operands), default=0)
        object.__setattr__(self, "height", above + 1)

    def __str__(self) -> str:
        """The expression as text that parses to the same tree."""
        if self.operation in VARIABLES:
            return self.operation
        shown = [str(operand) for operand in self.operands]
        if self.operation in ("negate", "not_"):
            return f"({'-' if self.operation == 'negate' else '!'}{shown[0]})"
        for symbol, (_, _, operation) in _INFIX.items():
            if operation == self.operation and operation not in ("where", "mod", "pow"):
                return f"({shown[0]} {symbol} {shown[1]})"
        return f"{self.operation}({', '.join(shown)})"


Node = Number | Call


@functools.cache
def functions() -> dict[str, int]:
    """The functions that expressions may call, with the number of their arguments.

    min and max take two or more.
    """
    return {name: count for name, count in _core.formula_operations() if name not in _SYNTAX_ONLY}


def parse(text: object) -> Node:
    """The tree of an expression. Raises ImageError that shows the place where it is wrong.

    >>> print(parse("1 - x^2 < y ? sin(t) : -2"))
    where(((1.0 - pow(x, 2.0)) < y), sin(t), (-2.0))
    """
    return _Parser(text).parse()


def compile_expression(text: object) -> Program:
    """An expression as instructions (N, 2) of (operation, argument) and constants (M,)."""
    tree = parse(text)
    codes = {name: code for code, (name, _) in enumerate(_core.formula_operations())}
    instructions: list[tuple[int, int]] = []
    constants: dict[float, int] = {}
    for name, value in _postfix(tree):
        argument = 0
        if name == "constant":
            argument = constants.setdefault(value, len(constants))
        elif name == "integer_power":
            argument = int(value)
        instructions.append((codes[name], argument))
    return np.array(instructions, np.int32).reshape(-1, 2), np.array(list(constants), np.float64)


def _postfix(tree: Node) -> Iterator[tuple[str, float]]:
    """Operations with their number, operands first. A power by a small whole number is products."""
    if isinstance(tree, Number):
        yield "constant", tree.value
        return
    operands = tree.operands
    if tree.operation == "pow":
        exponent = _constant(operands[1])
        if exponent is not None and exponent == int(exponent) and abs(exponent) <= 64:
            yield from _postfix(operands[0])
            yield "integer_power", exponent
            return
    for operand in operands:
        yield from _postfix(operand)
    yield tree.operation, 0.0


def _constant(tree: Node) -> float | None:
    """The value of a number with or without a sign."""
    if isinstance(tree, Number):
        return tree.value
    if tree.operation == "negate" and isinstance(tree.operands[0], Number):
        return -tree.operands[0].value
    return None


@dataclass(frozen=True)
class _Token:
    kind: str  # number, name, symbol or end
    text: str
    place: int


class _Parser:
    """One expression. Parsing and printing recurse no deeper than MAX_DEPTH levels."""

    def __init__(self, text: object) -> None:
        if not isinstance(text, str):
            raise ImageError(f"an expression is {text!r:.60}; expected text such as 'sin(9*r)'")
        self.text = text
        if len(text) > MAX_LENGTH:
            raise ImageError(
                f"the expression has {len(text)} characters; expected at most {MAX_LENGTH}"
            )
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0

    def _tokens(self) -> Iterator[_Token]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            match = _TOKEN.match(self.text, place)
            if match is None or match.lastgroup is None:
                place += len(self.text[place:]) - len(self.text[place:].lstrip())
                raise self._error(place, f"{self.text[place]!r} means nothing here")
            yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
            place = match.end()
        yield _Token("end", "", end)

    def parse(self) -> Node:
        tree = self._expression(0)
        rest = self.tokens[self.at]
        if rest.kind != "end":
            raise self._error(rest.place, f"expected an operator or the end, not {rest.text!r}")
        return tree

    def _error(self, place: int, what: str) -> ImageError:
        start, end = max(0, place - 30), min(len(self.text), place + 30)
        around = "".join(c if c.isprintable() else " " for c in self.text[start:end])
        return ImageError(
            f"{what}, at character {place + 1} of the expression:\n"
            f"  {around}\n  {' ' * (place - start)}^"
        )

    def _next(self) -> _Token:
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def _expect(self, symbol: str) -> None:
        token = self._next()
        if token.text != symbol or token.kind != "symbol":
            found = repr(token.text) if token.text else "the end"
            raise self._error(token.place, f"expected {symbol!r}, not {found}")

    def _expression(self, binding: int) -> Node:
        """What binds tighter than `binding`, from here on."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(
                self.tokens[self.at].place, f"nested more than {MAX_DEPTH} levels deep"
            )
        left = self._prefix()
        while True:
            token = self.tokens[self.at]
            infix = _INFIX.get(token.text) if token.kind == "symbol" else None
            if infix is None or infix[0] <= binding:
                self.depth -= 1
                return left
            self._next()
            left = self._infix(token, infix, left)

    def _infix(self, token: _Token, infix: tuple[int, int, str], left: Node) -> Node:
        _, binding, operation = infix
        if token.text == "?":
            yes = self._expression(0)
            self._expect(":")
            return self._call(token, operation, left, yes, self._expression(binding))
        right = self._expression(binding)
        if token.text in (">", ">="):
            left, right = right, left
        return self._call(token, operation, left, right)

    def _call(self, token: _Token, operation: str, *operands: Node) -> Node:
        tree = Call(operation, operands)
        if tree.height > MAX_HEIGHT:
            raise self._error(
                token.place, f"more than {MAX_HEIGHT} operations that wait for one another"
            )
        return tree

    def _prefix(self) -> Node:
        token = self._next()
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                raise self._error(token.place, f"the number {token.text:.20} is too large")
            return Number(value)
        if token.kind == "name":
            return self._name(token)
        if token.text == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        if token.text == "-":
            return self._call(token, "negate", self._expression(_SIGN))
        if token.text == "!":
            return self._call(token, "not_", self._expression(_SIGN))
        if token.text == "+":
            return self._expression(_SIGN)
        found = repr(token.text) if token.text else "the end"
        raise self._error(token.place, f"expected a number, a name or '(', not {found}")

    def _name(self, token: _Token) -> Node:
        name = token.text
        following = self.tokens[self.at]
        called = following.kind == "symbol" and following.text == "("
        if not called and name in VARIABLES:
            return Call(name)
        if not called and name in CONSTANTS:
            return Number(CONSTANTS[name])
        count = functions().get(name)
        if count is None:
            raise self._error(
                token.place,
                f"unknown name {name:.30}; known are {', '.join((*VARIABLES, *CONSTANTS))} "
                f"and the functions {', '.join(sorted(functions()))}",
            )
        if not called:
            raise self._error(token.place, f"{name} is a function: write {name}(…)")
        self._next()
        operands = [self._expression(0)]
        while self.tokens[self.at].text == ",":
            self._next()
            operands.append(self._expression(0))
        self._expect(")")
        if name in ("min", "max") and 2 <= len(operands) <= 100:
            return functools.reduce(lambda a, b: self._call(token, name, a, b), operands)
        if len(operands) != count:
            raise self._error(
                token.place,
                f"{name} takes {count} argument{'s' * (count != 1)}, not {len(operands)}",
            )
        return self._call(token, name, *operands)
