"""Sections as a terminal table or Markdown; answers as JSON, YAML or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmplan.report.sections import Section
from llmplan.spec.plan import Answer

NARROWEST = 78
"""Columns below which a table would lose figures: a narrower terminal wraps the lines itself."""


def as_table(sections: Sequence[Section], width: int, color: bool) -> str:
    """Return sections for a terminal of `width` columns."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, NARROWEST),
        force_terminal=color,
        no_color=not color,
        highlight=False,
        soft_wrap=False,
    )
    first = True
    for section in sections:
        if not (section.title or section.lines or section.rows):
            continue
        if not first:
            console.print()
        first = False
        _print_section(console, section)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _print_section(console: Any, section: Section) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if section.title:
        console.print(Text(section.title, style="bold"))
    for line in section.lines:
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    if section.rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(section.header):
            folds = number in section.wrap
            table.add_column(
                Text(name),
                justify="right" if number in section.right else "left",
                no_wrap=not folds,
                overflow="fold",
            )
        for row in section.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(Padding(table, (0, 0, 0, 2)))
    for line in section.after:
        console.print(Padding(Text(line), (0, 0, 0, 2)))


def as_markdown(sections: Sequence[Section]) -> str:
    """Return sections as Markdown."""
    parts: list[str] = []
    for section in sections:
        if section.title:
            parts.append(f"### {section.title}")
        if section.lines:
            parts.append("\n".join(f"- {line}" for line in section.lines))
        if section.rows:
            parts.append(markdown_table(section.header, section.rows, section.right))
        if section.after:
            parts.append("\n".join(section.after).replace("*", "\\*"))
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Return a Markdown table."""
    rule = ["---:" if i in right else "---" for i in range(len(header))]
    lines = [header, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_kind(kind: str, document: Any, sections: Sequence[Section], width: int, color: bool) -> str:
    """Return a list as text of one format: plain data for machines, sections for people."""
    if kind == "json":
        return as_json(document)
    if kind == "yaml":
        return as_yaml(document)
    if kind == "csv":
        return as_csv(document)
    return as_markdown(sections) if kind == "markdown" else as_table(sections, width, color)


def as_json(document: Any) -> str:
    """Return plain data as JSON, keys in the order of the nouns."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_yaml(document: Any) -> str:
    """Return plain data as YAML that llmplan reads back."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes no anchors: they are not read back."""

        def ignore_aliases(self, data: Any) -> bool:
            """Write every value out."""
            del data
            return True

    # text such as 1e5 is a number in YAML 1.2, which is read back, and not in 1.1, which PyYAML writes
    Plain.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+\Z"), "-+.0123456789"
    )
    text = yaml.dump(document, Dumper=Plain, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
    return str(text)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of equal keys as CSV; None is an empty cell."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return out.getvalue()


def pool_rows(answer: Answer) -> list[dict[str, Any]]:
    """Return one row a pool with plain numbers, for CSV; an infeasible answer is one row with its reason."""
    plan = answer.plan
    if plan is None or answer.cost is None:
        reason = answer.infeasible.reason if answer.infeasible else ""
        return [{"status": answer.status, "reason": reason}]
    offers = {o.name: o for o in plan.offers}
    rows = []
    for pool in plan.pools:
        told, offer = answer.pools[pool.name], offers[pool.offer]
        stage = pool.deployment.stage if pool.deployment else None
        rows.append(
            {
                "status": answer.status,
                "pool": pool.name,
                "phase": pool.phase,
                "replicas": pool.count,
                "gpu": pool.gpu,
                "gpus_per_replica": pool.gpus,
                "layout": str(stage.layout) if stage else None,
                "weight_dtype": stage.weight_dtype if stage else None,
                "kv_dtype": pool.deployment.kv_dtype if pool.deployment else None,
                "provider": offer.provider,
                "node": offer.node.name,
                "region": offer.region,
                "market": offer.market,
                "nodes_of_offer": next(r.nodes for r in plan.rentals if r.offer == pool.offer),
                "node_usd_per_hour": offer.usd_per_hour,
                "load_requests_per_s": told.load_requests_per_s,
                "capacity_requests_per_s": told.capacity_requests_per_s.value,
                "utilization": told.utilization,
                **{name: p.value for name, p in told.metrics.items()},
                "plan_usd_per_hour": answer.cost.usd_per_hour,
            }
        )
    return _same_keys(rows)


def _same_keys(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return [{key: row.get(key) for key in keys} for row in rows]
