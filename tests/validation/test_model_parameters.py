"""Parameters of the catalog's models against published counts and a reference formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import score_models

from llmplan.spec.catalog import Catalog

ROOT = Path(__file__).parents[2]


ROWS = list(score_models.rows(Catalog()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.hf_id)
def test_a_row_is_met_or_named_as_an_exception(row):
    if row.model is None:
        assert row.hf_id in score_models.EXCEPTIONS
        return
    if row.kind:
        assert abs(row.error) <= (score_models.EXACT if row.kind == "exact" else score_models.NOMINAL)
    if row.hf_id not in score_models.EXCEPTIONS:
        assert abs(row.active_error) <= score_models.EXACT


def test_no_exception_is_needless():
    off = {
        r.hf_id for r in ROWS if r.model is None or r.active_error is None or abs(r.active_error) > score_models.EXACT
    }
    assert set(score_models.EXCEPTIONS) <= off


def test_most_rows_are_compared():
    assert len(ROWS) == 169
    assert sum(1 for row in ROWS if row.model is not None) >= 164
    assert sum(1 for row in ROWS if row.kind == "exact") == 63


def test_the_page_says_what_the_code_counts():
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == score_models.page(Catalog())
