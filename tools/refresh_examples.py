"""Rewrite the expected output beside each example, and the copy of the first one in the README.

python tools/refresh_examples.py
"""

from __future__ import annotations

import re
from pathlib import Path

from llmplan.recommend import Options, recommend_plan
from llmplan.report.render import as_table
from llmplan.report.sections import sections_of
from llmplan.spec.catalog import Catalog
from llmplan.spec.readers import read_question

ROOT = Path(__file__).resolve().parents[1]
SHOWN = "chat-llama-70b"


def printed(name: str) -> str:
    """Return what `llmplan recommend examples/NAME.yaml` prints at 100 columns."""
    question = read_question(f"examples/{name}.yaml")
    found = recommend_plan(question.fleet, Catalog(), Options(), where=question.where)
    return as_table(sections_of(found), width=100, color=False)


def main() -> None:
    """Rewrite all of them; run from the root of the checkout."""
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        text = printed(path.stem)
        path.with_suffix(".out").write_text(text, encoding="utf-8")
        print(f"examples/{path.stem}.out")
        if path.stem == SHOWN:
            _into_readme(text)


def _into_readme(text: str) -> None:
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    block = f"<!-- output -->\n```text\n{text.rstrip()}\n```"
    new = re.sub(r"<!-- output -->\n```text\n.*?\n```", lambda _: block, old, flags=re.DOTALL)
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
