"""Rewrite what the documents show: expected outputs of the examples, and the tables of errors.

    python tools/refresh_docs.py

The answers are those of `DAY`, so that the age of prices does not change them.

Run it from the root of the checkout after a change of figures, and read the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from score_kernels import family_of

from llmplan.cli.measured import read_measured
from llmplan.freshness import AsOf
from llmplan.kernel_library import library_of
from llmplan.kernel_residuals import ResidualLibrary
from llmplan.kernel_scores import Predicted, errors, predictions
from llmplan.perf.kernels.forms import roofline_s
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


Sides = Sequence[tuple[np.ndarray, np.ndarray]]
"""Predicted and measured times of some cells."""


def by_family(predicted: Iterable[Predicted]) -> dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]]:
    """Return times of rows left out, by family and GPU."""
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for one in predicted:
        cell = one.cell
        rows = cell.split == ("group" if cell.operator.shape else "point")
        name = family_of((cell.operator.name, cell.dtype, cell.gpu))
        if rows.any() and name != "elementwise (A100)":
            found.setdefault((name, cell.gpu), []).append((one.seconds[rows], cell.measured_s[rows]))
    return found


def told(parts: Sides, count: bool = False) -> str:
    """Return MdAPE/P90 of all rows together, and how many they are."""
    if not parts:
        return "–"
    one = errors(*(np.concatenate(side) for side in zip(*parts, strict=True)))
    return f"{one.mdape:.0f}/{one.p90:.0f}{f' ({one.n})' if count else ''}"


def kernels_table() -> str:
    """Return errors of kernel times on the shipped rows, by family and GPU."""
    catalog = Catalog()
    measured, library = read_measured(None, catalog), library_of(catalog)
    own = by_family(predictions(measured, library))
    ways = [
        by_family(predictions(measured, library, residuals=ResidualLibrary(catalog.kernel_residuals))),
        by_family(predictions(measured, library, "gpu")),
        by_family(predictions(measured, library, "family")),
        by_family(
            Predicted(cell=c, seconds=roofline_s(c.operator, c.columns, c.target, c.dtype, c.kernel), basis="datasheet")
            for c in measured.cells
        ),
    ]
    gpus = sorted({gpu for _, gpu in own})
    header = ("left-out rows, MdAPE/P90 (rows)", *gpus, "with residuals", "GPU unseen", "family unseen", "roofline")
    rows = []
    for name in dict.fromkeys(family for family, _ in own):
        pooled = [[part for (family, _), parts in way.items() if family == name for part in parts] for way in ways]
        cells = [told(own.get((name, gpu), []), count=True) for gpu in gpus]
        rows.append((name, *cells, *(told(parts) for parts in pooled)))
    return markdown_table(header, rows)


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
        "kernels": kernels_table(),
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
