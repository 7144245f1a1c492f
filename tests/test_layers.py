"""Who may import whom, who touches files, where units are converted and where chance is allowed: by the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmplan"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}

BELOW = {
    "units": set(),
    "errors": set(),
    "version": set(),
    "spec": {"units", "errors", "version", "spec"},
    "perf": {"units", "errors", "spec", "perf"},
    "plan": {"units", "errors", "spec", "perf", "plan"},
    "sim": {"units", "errors", "spec", "perf", "sim"},
    "report": {"units", "errors", "version", "spec", "report"},
    "export": {"units", "errors", "version", "spec", "export"},
}
"""What each layer may import; the rest are use cases, which may import anything but `ABOVE`."""
ABOVE = {"cli", "report"}
HEAVY = {"scipy", "pulp", "highspy", "matplotlib"}
READERS = ("spec/catalog.py", "spec/readers.py")
WRITERS = ("cli/", "export/")
UNIT_SIZES = {60, 730, 1024, 3600, 86400} | {10.0**power for power in (3, 6, 9, 12, 15, -3, -6, -9, -12, -15)}


def layer(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_at_once(tree: ast.AST) -> Iterator[str]:
    """What runs when the module is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif not isinstance(node, ast.FunctionDef):
            yield from imports_at_once(node)


def own_layers(tree: ast.AST) -> set[str]:
    return {parts[1] for name in imports(tree) if (parts := name.split("."))[0] == "llmplan" and len(parts) > 1}


def roots(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imports(tree)}


def called(tree: ast.AST, *, methods_only: bool = False) -> set[str]:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    return names if methods_only else names | {call.id for call in calls if isinstance(call, ast.Name)}


def test_there_is_something_to_check():
    assert {"units", "errors", "version", "spec", "perf", "plan"} <= {layer(module) for module in MODULES}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_it(module):
    found = own_layers(MODULES[module])
    here = layer(module)
    if here in BELOW:
        assert found <= BELOW[here]
    elif here not in ("cli", "__main__"):
        assert not found & ABOVE


def test_a_forbidden_import_is_seen_in_every_form():
    for text in ("import llmplan.plan.mix", "from llmplan.plan import mix", "from llmplan import plan"):
        assert own_layers(ast.parse(text)) - BELOW["spec"] == {"plan"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_solvers_and_plots_are_imported_where_they_are_used(module):
    assert not {name.split(".")[0] for name in imports_at_once(MODULES[module])} & HEAVY


@pytest.mark.parametrize("module", sorted(MODULES))
def test_files_are_touched_by_few(module):
    tree = MODULES[module]
    if not module.startswith(WRITERS):
        assert not called(tree) & {"write_text", "write_bytes"}
    if module not in READERS:
        assert not called(tree, methods_only=True) & {"read_text", "read_bytes"}
    if module not in READERS and not module.startswith(WRITERS):
        assert "open" not in called(tree)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_simulator_has_chance(module):
    if layer(module) != "sim":
        assert "random" not in roots(MODULES[module])
        assert not any(name.startswith("numpy.random") for name in imports(MODULES[module]))
        assert not any(isinstance(node, ast.Attribute) and node.attr == "random" for node in ast.walk(MODULES[module]))


def conversions(tree: ast.AST) -> list[str]:
    """Products and quotients with the size of a unit; a constant in capitals is a number of its own, not a quantity."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv):
            sides = [node.left, node.right]
            constant = any(isinstance(side, ast.Name) and side.id.isupper() for side in sides)
            sized = any(isinstance(side, ast.Constant) and side.value in UNIT_SIZES for side in sides)
            if sized and not constant:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_units_are_converted_nowhere_else(module):
    if module != "units.py":
        assert conversions(MODULES[module]) == []


def test_a_conversion_is_seen_and_a_constant_is_not():
    assert len(conversions(ast.parse("a = b * 1e9; c = d / 1000; e = f(x) // 1_000_000; g = h * 1e-3"))) == 4
    assert conversions(ast.parse("a = 2.2e-6; b = c * 100; d = e / 64; f = TINY * 1e-6")) == []
