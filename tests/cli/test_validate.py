"""What `llmplan validate` and `llmplan calibrate` print, write and refuse."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from commands import COLLECTIVE_ROWS, Ran, llmplan


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own with a few rows of a collective."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "comm.csv").write_text(COLLECTIVE_ROWS, "utf-8")
    return tmp_path


def test_the_shipped_rows_are_scored_unasked() -> None:
    ran = llmplan("validate", "kernels", "--format", "json")
    told = json.loads(ran.out)
    assert (ran.code, told["inputs"]["dir"]) == (0, "shipped")
    assert {row["split"] for row in told["rows"]} == {"group", "point"}
    assert {row["basis"] for row in told["rows"]} == {"calibrated"}


@pytest.mark.parametrize("width", ["80", "140"])
def test_the_table_fits_and_counts_what_it_left_out(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    ran = llmplan("validate", "kernels")
    assert max(len(line) for line in ran.out.splitlines()) <= int(width)
    assert "rows scored; refused: " in " ".join(ran.out.split())
    assert "attn_prefill" in ran.out


def test_one_line_for_each_row_and_a_document(at: Path) -> None:
    ran = llmplan("validate", "kernels", "--data", "rows", "--rows", "r.csv", "-o", "told.json", "-f", "csv")
    assert ran.code == 0
    assert len(list(csv.DictReader(io.StringIO((at / "r.csv").read_text("utf-8"))))) == 30
    told = json.loads((at / "told.json").read_text("utf-8"))
    assert told["coverage"] == {"ran": 30, "refused": {}}
    again = llmplan("validate", "kernels", "--data", "rows", "-o", "told.json")
    assert (again.code, again.err) == (2, "llmplan: --output told.json: exists; give another name or --overwrite\n")


def test_residuals_are_used_unless_switched_off() -> None:
    def rows(*args: str) -> dict[tuple[str, ...], dict[str, float]]:
        ran = llmplan("validate", "kernels", "--format", "json", *args)
        assert (ran.code, ran.err) == (0, "")
        return {
            tuple(row[name] for name in ("op", "dtype", "gpu", "kernel", "split", "basis")): row
            for row in json.loads(ran.out)["rows"]
        }

    told, plain = rows(), rows("--no-residuals")
    assert told.keys() == plain.keys()
    better = [key for key in told if told[key]["mdape"] < plain[key]["mdape"]]
    assert len(better) > len(told) / 2
    assert rows("--hide", "gpu") == rows("--hide", "gpu", "--no-residuals")


def test_a_gate_on_the_mean_error_ends_in_3() -> None:
    assert llmplan("validate", "kernels", "--data", "rows", "--max-mape", "0.001").code == 3
    assert llmplan("validate", "kernels", "--data", "rows", "--max-mape", "1e9").code == 0


def test_a_fit_of_own_rows_is_used_from_its_folder(at: Path) -> None:
    before = llmplan("validate", "kernels", "--data", "rows", "--format", "json")
    ran = llmplan("calibrate", "fit", "rows", "--source", "mine", "--output-dir", "own")
    assert ran.code == 0, ran.err
    assert (at / "own/hardware/fits/h100-sxm.yaml").is_file()
    assert "refused rows: none" in ran.err
    after = llmplan("validate", "kernels", "--data", "rows", "--catalog", "own", "--format", "json")

    assert "h100-sxm: residuals of all_gather belong to other parameters" in after.err
    assert before.err == ""

    def worst(ran: Ran) -> float:
        return max(row["mape"] for row in json.loads(ran.out)["rows"])

    assert worst(after) < worst(before) / 2
    again = llmplan("calibrate", "fit", "rows", "--no-prior", "--output-dir", "own", "-q")
    assert again.code == 2
    assert "exists; give another folder or --overwrite" in again.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("validate", "kernels", "--data", "nowhere"), "llmplan: nowhere: no such folder; want one with gemm, "),
        (("validate", "kernels", "--data", "."), "llmplan: .: holds no kernel times; want gemm, "),
        (
            ("calibrate", "fit", "few"),
            "llmplan: few: no row can be used (1 missing_field, 4 wrong_unit); columns as in ",
        ),
        (("calibrate", "fit", "bad"), "llmplan: bad/gemm.csv: has no column backend"),
    ],
)
def test_what_is_wrong_is_one_line(args: tuple[str, ...], said: str, at: Path) -> None:
    for name, text in (("few", COLLECTIVE_ROWS[:300]), ("bad", "system,m\n1,2\n")):
        (at / name).mkdir()
        (at / name / ("comm.csv" if name == "few" else "gemm.csv")).write_text(text, "utf-8")
    ran = llmplan(*args)
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith(said if "bad" not in args else "llmplan: bad/gemm.csv: has no column")
    assert "Traceback" not in ran.err
