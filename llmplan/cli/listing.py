"""Prints lists and single entries of the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from llmplan.cli.options import OutputFormat, colored, table_width


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number and its noun: `1 gpu`, `2 gpus`."""
    return f"{number} {one}" if number == 1 else f"{number} {several or f'{one}s'}"


def listed(
    rows: Sequence[Mapping[str, Any]],
    fmt: OutputFormat,
    title: str,
    spared: Sequence[str] = (),
    note: str = "",
    *,
    wide: bool = False,
    unbroken: Sequence[str] = (),
) -> None:
    """Print rows of equal keys: plain numbers in base units for machines, handy units for people.

    Parameters
    ----------
    spared : sequence of str
        Columns that a terminal too narrow for all goes without, the first named first; a last line says so.
    note : str
        Printed under a table.
    wide : bool
        Print for more columns than the terminal has.
    unbroken : sequence of str
        Columns whose cells are never folded.
    """
    from llmplan.report import render
    from llmplan.report.sections import Section

    plain = [dict(row) for row in rows]
    if fmt is OutputFormat.json:
        text = render.as_json(plain)
    elif fmt is OutputFormat.yaml:
        text = render.as_yaml(plain)
    elif fmt is OutputFormat.csv:
        text = render.as_csv([{key: _csv_cell(value) for key, value in row.items()} for row in plain])
    else:
        width = table_width(wide)
        keys = list(rows[0]) if rows else []
        out = []
        for key in spared:
            if key in keys and fmt is OutputFormat.table and rows and _width(rows, keys) > width:
                keys.remove(key)
                out.append(_heading(key))
        narrow = fmt is OutputFormat.table and _width(rows, keys) > width
        left = f"{counted(len(out), 'column')} left out ({', '.join(out)}): widen the terminal or use --wide"
        numbers = {k for k in keys if all(isinstance(row[k], int | float | None) for row in rows)}
        section = Section(
            title=title,
            header=tuple(_heading(key) for key in keys),
            rows=tuple(tuple(_cell(key, row[key]) for key in keys) for row in rows),
            right=frozenset(i for i, key in enumerate(keys) if key in numbers),
            wrap=frozenset(
                i for i, key in enumerate(keys) if key not in numbers and (i > 0 or narrow) and key not in unbroken
            ),
            after=tuple(line for line in (note, left if out else "") if line),
        )
        if fmt is OutputFormat.markdown:
            text = render.as_markdown([section])
        else:
            text = render.as_table([section], width, colored(False))
    typer.echo(text, nl=False)


def _width(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Return the columns that a table of some keys takes."""
    widths = [max(len(_heading(key)), *(len(_cell(key, row[key])) for row in rows)) for key in keys]
    return sum(widths) + 2 * len(widths)


def _heading(key: str) -> str:
    """Return a key without its unit: the cells carry it."""
    for end in ("_flop_per_s", "_bytes_per_s", "_bytes", "_s"):
        if key.endswith(end):
            return key.removesuffix(end).replace("_", " ")
    return key


def _cell(key: str, value: Any) -> str:
    from llmplan.spec.base import promised_unit
    from llmplan.units import brief

    if value is None:
        return "-"
    if isinstance(value, float):
        unit = promised_unit(key)
        return brief(value, unit) if unit and unit != "USD/h" else f"{value:g}"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return str(value)


def _csv_cell(value: Any) -> Any:
    """Return a value as a table program reads it: whole numbers without a point, lists as text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return ", ".join(str(v) for v in value) if isinstance(value, list) else value


def detailed(
    document: Mapping[str, Any],
    fmt: OutputFormat,
    title: str,
    rows: Sequence[tuple[str, str, str]],
    *,
    wide: bool = False,
) -> None:
    """Print one entry: for people (field, value, source) rows, for machines the document."""
    if fmt in (OutputFormat.json, OutputFormat.yaml):
        from llmplan.report import render

        typer.echo(render.as_json(document) if fmt is OutputFormat.json else render.as_yaml(document), nl=False)
        return
    plain = [dict(zip(("field", "value", "source"), row, strict=True)) for row in rows]
    listed(plain, fmt, title, wide=wide, unbroken=("field",))
