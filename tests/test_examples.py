"""Every example prints what lies beside it; `tools/refresh_docs.py` rewrites that on purpose."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_example_prints_its_expected_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.syspath_prepend(str(EXAMPLES.parent / "tools"))
    printed = importlib.import_module("refresh_docs").printed(name)
    expected = (EXAMPLES / f"{name}.out").read_text(encoding="utf-8")
    assert without_versions(printed) == without_versions(expected)


def without_versions(text: str) -> str:
    """Return a text without what another version of a solver may choose: its name, and ties among the runners-up."""
    text = re.sub(r"HiGHS [0-9.]+|CBC[ 0-9.]*", "SOLVER", text)
    lines, runners_up = [], False
    for line in text.splitlines():
        runners_up = (runners_up or line == "Cheapest plans on less") and line != ""
        if runners_up and line.startswith(" " * 20):
            continue
        lines.append(re.sub(r"(?<=\d\.\d\d)(\s+[+-][\d.]+ %|\s+x [\d,]+).*", r"\1", line) if runners_up else line)
    return "\n".join(lines)


@pytest.mark.parametrize("document", ["README.md", "docs/validation.md"])
def test_tables_in_documents_are_what_the_shipped_rows_give(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.syspath_prepend(str(EXAMPLES.parent / "tools"))
    refresh_docs = importlib.import_module("refresh_docs")
    path = EXAMPLES.parent / document
    assert without_versions(refresh_docs.documents()[path]) == without_versions(path.read_text(encoding="utf-8"))


def test_readme_is_short() -> None:
    assert len((EXAMPLES.parent / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
