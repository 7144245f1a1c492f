"""What `llmplan validate kernels` says of limits, refits and measured times, and what it refuses."""

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


def validate(*args: str) -> Ran:
    return llmplan("validate", "kernels", "--data", "rows", *args)


def test_limits_that_hold_end_in_0_and_one_that_does_not_in_3(at: Path) -> None:
    (at / "fine.txt").write_text("kernels.all_gather.mdape <= 1000\nkernels.coverage >= 100\n", "utf-8")
    (at / "hard.yaml").write_text("- kernels.all_gather.mdape <= 1000\n- kernels.all_gather.p90 <= 0.01\n", "utf-8")
    fine, hard = validate("--gate", "fine.txt"), validate("--gate", "hard.yaml", "-q")
    assert (fine.code, hard.code) == (0, 3)
    assert [line.split()[0] for line in fine.err.splitlines()] == ["pass", "pass"]
    assert [line.split()[:2] for line in hard.err.splitlines()] == [["FAIL", "kernels.all_gather.p90"]]


def test_the_shipped_rows_keep_the_shipped_limits() -> None:
    gates = Path(__file__).parents[2] / "validation" / "kernel_gates.txt"
    ran = llmplan("validate", "kernels", "--gate", str(gates))
    assert ran.code == 0, ran.err
    assert {line.split()[0] for line in ran.err.splitlines()} == {"pass"}


def test_verdicts_are_in_the_document(at: Path) -> None:
    (at / "hard.txt").write_text("kernels.all_gather.p90 <= 0.01\n", "utf-8")
    told = json.loads(validate("--gate", "hard.txt", "-f", "json").out)
    (one,) = told["gates"]
    assert (one["gate"], one["passed"], one["over"]) == ("kernels.all_gather.p90 <= 0.01", False, "over cells")
    assert one["cells"] == 1
    assert one["rows"] == sum(row["n"] for row in told["rows"] if row["split"] == "point")


def test_the_worst_cell_is_named_beside_a_limit_of_all() -> None:
    ran = validate("--max-mape", "0.001")
    assert ran.code == 3
    assert ran.err.startswith("FAIL  --max-mape 0.001: ")
    assert "worst of 1 cells, all_gather float16 on h100-sxm (nccl), point)" in ran.err


def test_no_rows_keep_no_limit(at: Path) -> None:
    (at / "rows" / "comm.csv").write_text(COLLECTIVE_ROWS.replace("h100_sxm", "abacus"), "utf-8")
    assert validate("--max-mape", "1e9").code == 3


def test_errors_by_measured_time_are_in_the_document_and_a_second_table() -> None:
    told = json.loads(validate("-f", "json").out)
    assert {row["op"] for row in told["bins"]} == {"all_gather"}
    assert sum(row["n"] for row in told["bins"]) == sum(row["n"] for row in told["rows"]) == 30
    assert "0-20 us" in validate("--bins").out
    assert "0-20 us" not in validate().out
    assert {row["op"] for row in csv.DictReader(io.StringIO(validate("--bins", "-f", "csv").out))} == {"all_gather"}


@pytest.mark.parametrize("width", ["80", "140"])
@pytest.mark.parametrize("shipped", [False, True])
def test_all_four_errors_are_shown_at_any_width(width: str, shipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    ran = llmplan("validate", "kernels", "--bins") if shipped else validate("--bins")
    assert max(len(line) for line in ran.out.splitlines()) <= int(width)
    heads = [line.split() for line in ran.out.splitlines() if line.split()[:1] == ["op"]]
    assert len(heads) == 2
    for head in heads:
        assert {"n", "MdAPE", "P90", "WAPE", "bias"} <= set(head)
    assert "coverage 100.0 %" in ran.out or shipped


def test_rows_of_a_document_carry_an_interval_where_they_are_few() -> None:
    (point,) = (row for row in json.loads(validate("-f", "json").out)["rows"] if row["split"] == "point")
    assert point["mdape_low"] <= point["mdape"] <= point["mdape_high"]


def test_a_few_own_rows_do_better_than_none_and_the_rest_is_scored() -> None:
    def error(*args: str) -> float:
        told = json.loads(validate(*args, "-f", "json", "-q").out)
        return max(row["mdape"] for row in told["rows"] if row["split"] == "point")

    assert error("--calibrate", "20") < error("--hide", "gpu") / 2
    told = json.loads(validate("--calibrate", "20", "--seed", "3", "-f", "json", "-q").out)
    assert told["trial"] == {"calibrate": {"rows": 20, "seed": 3}}
    assert {row["split"]: row["n"] for row in told["rows"]} == {"point": 10, "train": 20}


OWN, OTHERS = {"calibrated", "transferred"}, {"transferred", "datasheet"}


@pytest.mark.parametrize(("fit", "bases"), [("half", OWN), ("group", OWN), ("gpu", OTHERS)])
def test_a_refit_is_told_on_stderr_and_in_the_document(fit: str, bases: set[str]) -> None:
    ran = validate("--fit", fit, "-f", "json")
    told = json.loads(ran.out)
    assert (ran.code, told["trial"]) == (0, {"fit": fit})
    assert ran.err.startswith("1/1 all_gather float16 on h100-sxm (nccl): ")
    assert sum(row["n"] for row in told["rows"]) == 30
    assert {row["split"] for row in told["rows"]} == {"point", "train"}
    assert {row["basis"] for row in told["rows"]} <= bases
    assert validate("--fit", fit, "-f", "json", "-q").err == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--gate", "none.txt"), "none.txt: no such file"),
        (("--gate", "odd.txt"), "odd.txt:1: unknown operator 'gem'; did you mean gemm or emb?"),
        (("--max-mape", "nan"), "--max-mape nan: want a limit in percent, 0 or more"),
        (("--max-mape", "-1"), "--max-mape -1: want a limit in percent, 0 or more"),
        (("--calibrate", "0"), "--calibrate 0: want 1 row or more of each kernel"),
        (("--calibrate", "5", "--fit", "half"), "--fit half: does not go with --calibrate 5; give one of them"),
        (("--fit", "gpu", "--hide", "gpu"), "--fit gpu: does not go with --hide gpu; give one of them"),
        (("--seed", "3"), "--seed 3: goes with --calibrate only; give --calibrate N as well"),
    ],
)
def test_what_cannot_be_is_one_line_and_2(args: tuple[str, ...], said: str, at: Path) -> None:
    (at / "odd.txt").write_text("kernels.gem.mdape <= 10\n", "utf-8")
    ran = validate(*args)
    assert ran.code == 2
    assert ran.err.startswith(f"llmplan: {said}")
    assert len(ran.err.splitlines()) == 1
