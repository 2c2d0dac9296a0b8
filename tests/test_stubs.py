"""The stub of the compiled module says what the module has: names, members, parameters."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import WrapperDescriptorType

import pytest

import fastsynth
from fastsynth import _core

STUB = Path(fastsynth.__file__ or "").with_name("_core.pyi")
Members = dict[str, ast.stmt]
Parameters = list[tuple[str, bool]]  # (name, has a default)


def declared(body: list[ast.stmt]) -> Members:
    """The names that statements of the stub define."""
    found: Members = {}
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


STUBBED = declared(ast.parse(STUB.read_text(encoding="utf-8")).body)
CLASSES = sorted(name for name, node in STUBBED.items() if isinstance(node, ast.ClassDef))


def members(name: str) -> Members:
    """What the stub declares inside a class."""
    node = STUBBED[name]
    assert isinstance(node, ast.ClassDef)
    return declared(node.body)


def is_property(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list
    )


def parameters(node: ast.FunctionDef) -> Parameters:
    """Parameters with pybind11's names "arg0", "arg1", ... for those that have none to call by."""
    names = [f"arg{i}" for i in range(len(node.args.posonlyargs))]
    names += [argument.arg for argument in node.args.args]
    required = len(names) - len(node.args.defaults)
    found = [(name, index >= required) for index, name in enumerate(names)]
    return [item for item in found if item[0] != "self"]


def compiled_parameters(function: Callable[..., object]) -> Parameters:
    """The same from the first line that pybind11 writes into the docstring."""
    line = (function.__doc__ or "").splitlines()[0]
    # Defaults that are objects are shown as <...>, which is no expression.
    parsed = ast.parse("def " + re.sub(r"= <[^>]*>", "= None", line) + ": ...").body[0]
    assert isinstance(parsed, ast.FunctionDef)
    return parameters(parsed)


def functions() -> Iterator[tuple[str, ast.FunctionDef, Callable[..., object]]]:
    """(name, stub, compiled) of all functions, methods and constructors."""
    for name, node in STUBBED.items():
        if isinstance(node, ast.FunctionDef):
            yield name, node, getattr(_core, name)
    for name in CLASSES:
        for member, node in members(name).items():
            if isinstance(node, ast.FunctionDef) and not is_property(node):
                yield f"{name}.{member}", node, getattr(getattr(_core, name), member)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__version__", "__init__")


def test_names_of_the_module() -> None:
    assert set(STUBBED) == {name for name in vars(_core) if is_public(name)}


@pytest.mark.parametrize("name", CLASSES)
def test_members_of_a_class(name: str) -> None:
    compiled = vars(getattr(_core, name))
    found = {member for member in compiled if is_public(member)}
    if isinstance(compiled["__init__"], WrapperDescriptorType):
        found.remove("__init__")  # pybind11's own, which refuses: the class has no constructor
    assert set(members(name)) == found
    for member, node in members(name).items():
        if isinstance(compiled[member], property):
            writable = compiled[member].fset is not None
            assert is_property(node) != writable, f"{name}.{member}: read-only or not"
        else:
            assert not is_property(node), f"{name}.{member} is a method"


@pytest.mark.parametrize("name", CLASSES)
def test_bases_of_a_class(name: str) -> None:
    node = STUBBED[name]
    assert isinstance(node, ast.ClassDef)
    compiled = [base.__name__ for base in getattr(_core, name).__bases__]
    assert [ast.unparse(base) for base in node.bases] == [
        base for base in compiled if base != "pybind11_object"
    ]


def test_parameters() -> None:
    seen = 0
    for name, node, compiled in functions():
        assert parameters(node) == compiled_parameters(compiled), name
        seen += 1
    assert seen > 50
