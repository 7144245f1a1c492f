"""Prints lists and single entries of the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from llmplan.cli.options import OutputFormat, colored, table_width


def listed(rows: Sequence[Mapping[str, Any]], fmt: OutputFormat, title: str, right: Sequence[str] = ()) -> None:
    """Print rows of equal keys; `text` keys are for people, plain numbers for machines."""
    from llmplan.report import render
    from llmplan.report.sections import Section

    plain = [dict(row) for row in rows]
    if fmt is OutputFormat.json:
        text = render.as_json(plain)
    elif fmt is OutputFormat.yaml:
        text = render.as_yaml(plain)
    elif fmt is OutputFormat.csv:
        text = render.as_csv(plain)
    else:
        header = tuple(rows[0]) if rows else ()
        section = Section(
            title=title,
            header=header,
            rows=tuple(tuple(_cell(value) for value in row.values()) for row in rows),
            right=frozenset(i for i, name in enumerate(header) if name in right),
            wrap=frozenset(range(len(header))),
        )
        if fmt is OutputFormat.markdown:
            text = render.as_markdown([section])
        else:
            text = render.as_table([section], table_width(), colored(False))
    typer.echo(text, nl=False)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return str(value)


def detailed(document: Mapping[str, Any], fmt: OutputFormat, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Print one entry: for people (field, value, source) rows, for machines the document."""
    if fmt in (OutputFormat.json, OutputFormat.yaml):
        from llmplan.report import render

        typer.echo(render.as_json(document) if fmt is OutputFormat.json else render.as_yaml(document), nl=False)
        return
    listed([dict(zip(("field", "value", "source"), row, strict=True)) for row in rows], fmt, title)
