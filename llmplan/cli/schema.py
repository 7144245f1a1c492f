"""`llmplan schema`: the JSON Schema of every file llmplan reads or writes, and a check of files against it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.errors import InputError, UnknownNameError, near

EPILOG = o.EXIT_CODES


def schema(
    kind: Annotated[str | None, typer.Argument(help="Kind of file; without it the kinds are listed.")] = None,
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="FILE", help="Validate a file of this kind (repeatable).")
    ] = None,
) -> None:
    """Print a JSON Schema, or check files against it."""
    from llmplan.report import render
    from llmplan.spec.schemas import KINDS, json_schema

    if kind is None and check:
        raise InputError(f"schema --check {check[0]}: no kind; want llmplan schema workload --check {check[0]}")
    if kind is None:
        typer.echo("\n".join(sorted(KINDS)))
        return
    if kind not in KINDS:
        raise UnknownNameError(f"schema {kind}: no such kind; {near(kind, KINDS) or 'want ' + ', '.join(KINDS)}")
    if check:
        for name in check:
            _check(kind, name)
        typer.echo("\n".join(f"{name}: valid {kind}" for name in check))
        return
    typer.echo(render.as_json(json_schema(kind)), nl=False)


def _check(kind: str, name: str) -> Any:
    from llmplan.spec.messages import read_as
    from llmplan.spec.readers import read_text
    from llmplan.spec.schemas import KINDS
    from llmplan.spec.yaml_files import read_yaml

    text, where = read_text(name)
    noun, written = KINDS[kind]
    raw = read_yaml(text, where)
    if written and isinstance(raw.data, dict) and raw.data.get("schema_version") != 1:
        raise InputError(f"{where}: schema_version: {raw.data.get('schema_version')!r} is not read; want 1")
    return read_as(noun, raw, base_units=written)
