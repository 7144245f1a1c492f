"""Rewrite what the documents show: expected outputs of the examples, and the tables of errors.

    python tools/refresh_docs.py

The answers are those of `DAY`, so that the age of prices does not change them.

Run it from the root of the checkout after a change of figures, and read the difference.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import score_operators

from llmplan.freshness import AsOf
from llmplan.recommend import recommend_plan
from llmplan.report.render import as_table, markdown_table
from llmplan.report.sections import sections_of
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.readers import read_question

ROOT = Path(__file__).resolve().parents[1]
SHOWN = "chat-llama-70b"
WIDTH = 100
DAY = date(2026, 9, 1)


def printed(name: str) -> str:
    """Return what `llmplan recommend examples/NAME.yaml` prints at 100 columns."""
    question = read_question(f"examples/{name}.yaml")
    found = recommend_plan(question.fleet, Catalog(), Options(), where=question.where, as_of=AsOf(day=DAY))
    return as_table(sections_of(found), width=WIDTH, color=False)


def serving_table() -> str:
    """Return the brief table of the committed serving report."""
    report = (ROOT / "validation" / "serving.md").read_text(encoding="utf-8")
    return report.split("### Brief\n\n")[1].split("\n\n")[0]


def bands_table() -> str:
    """Return the shipped bands, by basis and architecture."""
    shipped = Catalog().bands
    rows = []
    for name, metrics in [*shipped.bands.items(), *shipped.architectures.items()]:
        cells = [metrics[m] for m in ("tpot_s", "ttft_s", "throughput")]
        rows.append((name, *(f"{c.low:g} - {c.high:g} ({c.rows})" for c in cells)))
    return markdown_table(("basis", "TPOT", "TTFT", "throughput"), rows)


def filled(text: str, blocks: dict[str, str]) -> str:
    """Return a document with the text between each pair of markers replaced."""
    for name, block in blocks.items():
        pattern = rf"<!-- {name} -->\n.*?<!-- /{name} -->"
        text = re.sub(pattern, lambda _, b=block, n=name: f"<!-- {n} -->\n{b}\n<!-- /{n} -->", text, flags=re.DOTALL)
    return text


def documents() -> dict[Path, str]:
    """Return every document with its tables, as they should be."""
    blocks = {
        "operators": score_operators.table(),
        "serving": serving_table(),
        "bands": bands_table(),
        "output": f"```text\n{printed(SHOWN).rstrip()}\n```",
    }
    paths = [ROOT / "README.md", ROOT / "docs" / "validation.md"]
    return {path: filled(path.read_text(encoding="utf-8"), blocks) for path in paths}


def main() -> None:
    """Rewrite all of them."""
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        path.with_suffix(".out").write_text(printed(path.stem), encoding="utf-8")
        print(f"examples/{path.stem}.out")
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
