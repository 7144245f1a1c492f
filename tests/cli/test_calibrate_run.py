"""What `llmplan calibrate run` plans, measures, keeps, resumes and refuses, on a bench without a GPU."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from commands import Ran, llmplan

from llmplan import kernel_cuda
from llmplan.cli import measuring
from llmplan.cli.app import main
from llmplan.kernel_bench import Implementation, OutOfMemoryError, Timing, UnsupportedError, columns
from llmplan.kernel_plan import Planned
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog

TARGET = Target(gpu=Catalog().gpu("h100"), link_bytes_per_s=450e9)


def shifted(operator: str, dtype: str) -> dict[str, float]:
    """Parameters that no GPU has: where a fit starts, each times 0.9 or 1.1."""
    wanted = OPERATORS[operator].parameters(dtype)
    return {p.name: min(p.start * (1.1 if i % 2 else 0.9), p.high) for i, p in enumerate(wanted)}


@dataclass
class ToyBench:
    """A bench without a GPU: times come from the forms with known parameters, and noise made of the key."""

    name: str = "NVIDIA H100 80GB HBM3"
    driver: str = "999.1"
    devices: int = 1
    noise: float = 0.02
    version: str = "2.9.0 cuda 12.8"
    before: Callable[[int, Planned], None] = lambda _count, _row: None
    """Called before each row; what it raises, the bench raises."""
    asked: list[Planned] = field(default_factory=list)
    closed: int = 0

    def implementation(self, row: Planned) -> Implementation:
        return Implementation(kernel=f"toy_{row.file}", backend="torch", version=self.version)

    def timed(self, row: Planned, copies: int) -> Timing:
        assert copies >= 1
        self.asked.append(row)
        self.before(len(self.asked), row)
        return Timing(seconds=self.seconds(row), power_w=456.7)

    def seconds(self, row: Planned) -> float:
        operator, dtype = row.cell
        if operator not in OPERATORS:
            return 1e-6 + row.values["bytes"] / 3e12
        form = OPERATORS[operator]
        columns = {name: np.array([float(row.values[name])]) for name in form.columns}
        wobble = 1 + self.noise * (2 * crc32(row.shape.encode()) / 2**32 - 1)
        return float(form.predict(columns, TARGET, dtype, "toy", shifted(operator, dtype))[0]) * wobble

    def close(self) -> None:
        self.closed += 1


def run(*args: str) -> Ran:
    return llmplan("calibrate", "run", "--output-dir", "rows", *args)


@pytest.fixture(autouse=True)
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A toy bench in place of the GPU, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    found = ToyBench()
    monkeypatch.setattr(kernel_cuda, "opened", lambda: found)
    return found


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text("utf-8"))))


def test_warm_rows_lie_in_the_folder_and_cold_ones_below_it(bench: ToyBench) -> None:
    ran = run("--rows", "5", "--operators", "gemm,memory")
    assert ran.code == 0, ran.err
    warm, cold = rows_of("rows/gemm.csv"), rows_of("rows/cold/gemm.csv")
    assert (len(warm), len(cold)) == (10, 10)
    assert {row["l2"] for row in warm} == {"warm"}
    assert {row["l2"] for row in cold} == {"cold"}
    assert list(warm[0]) == list(columns("gemm"))
    told = {name: warm[0][name] for name in ("system", "backend", "version", "kernel", "driver", "power_w")}
    assert told == {
        "system": "h100-sxm", "backend": "torch", "version": "2.9.0 cuda 12.8", "kernel": "toy_gemm",
        "driver": "999.1", "power_w": "457",
    }  # fmt: skip
    assert len(rows_of("rows/memory.csv")) == 10
    assert ran.err.splitlines()[-1] == "40 rows measured; they are in rows"
    assert bench.closed == 1


def test_times_are_microseconds(bench: ToyBench) -> None:
    run("--rows", "4", "--operators", "gemm")
    for planned, row in zip((r for r in bench.asked if r.l2 == "warm"), rows_of("rows/gemm.csv"), strict=True):
        assert float(row["time_us"]) == pytest.approx(bench.seconds(planned) * 1e6, rel=1e-4)
        assert "e" not in row["time_us"]


@pytest.mark.parametrize("devices", [1, 2])
def test_what_was_measured_is_fitted_and_scored(devices: int, bench: ToyBench) -> None:
    """Rows that a form made with 2 % of noise: the fit of 72 of them is off by a few percent."""
    bench.devices = devices
    operators = "gemm" if devices == 1 else "collectives"
    assert run("--operators", operators).code == 0
    fit = llmplan("calibrate", "fit", "rows", "--source", "toy", "--output-dir", "own")
    assert fit.code == 0, fit.err
    assert "refused rows: none" in fit.err
    ran = llmplan("validate", "kernels", "--data", "rows", "--catalog", "own", "--format", "json")
    scores = [row for row in json.loads(ran.out)["rows"] if row["split"] != "train"]
    assert {row["op"] for row in scores} == (
        {"gemm"} if devices == 1 else {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"}
    )
    assert {row["basis"] for row in scores} == {"calibrated"}
    assert max(row["mdape"] for row in scores) < 5
    kept = Path("own/hardware/fits/h100-sxm.yaml").read_text("utf-8")
    assert max(float(part.split(",")[0]) for part in kept.split("mdape: ")[1:]) < 5


def test_a_stopped_run_goes_on_where_it_was(bench: ToyBench) -> None:
    def stop(count: int, row: object) -> None:
        del row
        if count == 8:
            raise KeyboardInterrupt

    bench.before = stop
    ran = run("--rows", "6", "--operators", "gemm")
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == "interrupted: 7 rows kept in rows; run the same command to go on"
    assert len(rows_of("rows/gemm.csv")) == 7
    first = Path("rows/gemm.csv").read_text("utf-8")
    bench.before = lambda _count, _row: None
    bench.asked.clear()
    again = run("--rows", "6", "--operators", "gemm")
    assert again.code == 0
    assert len(bench.asked) == 24 - 7
    assert Path("rows/gemm.csv").read_text("utf-8").startswith(first)
    assert again.err.splitlines()[-1] == "17 rows measured, 7 from before; they are in rows"
    bench.asked.clear()
    assert run("--rows", "6", "--operators", "gemm").code == 0
    assert bench.asked == []


def test_more_rows_keep_those_that_are_there(bench: ToyBench) -> None:
    run("--rows", "4", "--operators", "gemm")
    bench.asked.clear()
    run("--rows", "6", "--operators", "gemm")
    assert len(bench.asked) == 2 * 2 * 2


def test_another_version_is_measured_anew_beside_the_old(bench: ToyBench) -> None:
    run("--rows", "4", "--operators", "gemm")
    bench.version = "3.0"
    run("--rows", "4", "--operators", "gemm")
    assert len(rows_of("rows/gemm.csv")) == 16


@pytest.mark.parametrize("torn", [b"h100-sxm,torch,2.9.0 cu", b"\xff\xfe,"])
def test_a_torn_last_line_is_dropped_with_a_word(torn: bytes) -> None:
    run("--rows", "4", "--operators", "gemm", "--quiet")
    path = Path("rows/gemm.csv")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    ran = run("--rows", "4", "--operators", "gemm")
    assert ran.code == 0
    assert "rows/gemm.csv: dropped a torn last line" in ran.err.splitlines()
    assert path.read_bytes() == whole


def test_a_torn_head_is_written_again() -> None:
    Path("rows").mkdir()
    Path("rows/gemm.csv").write_bytes(b"system,back")
    assert run("--rows", "2", "--operators", "gemm").code == 0
    assert len(rows_of("rows/gemm.csv")) == 4


def test_rows_that_do_not_run_are_left_out_and_counted(bench: ToyBench) -> None:
    def some(count: int, row: object) -> None:
        del row
        if count == 3:
            raise OutOfMemoryError("no")
        if count == 4:
            raise UnsupportedError("no such kernel")

    bench.before = some
    ran = run("--rows", "4", "--operators", "gemm")
    assert ran.code == 0
    assert "left out   1 x out of memory" in ran.err.splitlines()
    assert "left out   1 x gemm fp8: no such kernel" in ran.err.splitlines()
    assert ran.err.splitlines()[-1] == "14 rows measured; they are in rows"
    bench.asked.clear()
    run("--rows", "4", "--operators", "gemm")
    assert len(bench.asked) == 2


def test_time_is_up_between_rows(bench: ToyBench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(measuring.time, "monotonic", lambda: clock[0])

    def tick(count: int, row: object) -> None:
        del count, row
        clock[0] += 20.0

    bench.before = tick
    ran = run("--rows", "10", "--operators", "gemm", "--minutes", "1")
    assert ran.code == 0
    assert len(rows_of("rows/gemm.csv")) == 3
    assert ran.err.splitlines()[-1] == "37 rows left after 1 minutes; run the same command to go on"


def test_progress_is_a_line_each_tenth_where_there_is_no_terminal() -> None:
    ran = run("--rows", "10", "--operators", "gemm")
    assert [line.split()[0] for line in ran.err.splitlines() if "/40" in line] == [f"{n}/40" for n in range(4, 41, 4)]
    assert run("--rows", "10", "--operators", "gemm", "--quiet").err == ""


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    monkeypatch.setattr(sys, "argv", ["llmplan", "calibrate", "run", "--output-dir", "rows", "--rows", "4"])
    monkeypatch.setenv("TERM", "xterm")
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit):
        main()
    assert "━" in err.getvalue()
    assert "rows measured; they are in rows" in err.getvalue()


def test_one_gpu_says_that_collectives_are_left_out() -> None:
    ran = run("--rows", "2")
    assert "collectives are left out: one GPU" in ran.err.splitlines()
    assert not Path("rows/comm.csv").exists()


def test_few_rows_are_said_to_make_no_fit() -> None:
    assert "--rows 3: a fit needs 60 of an operator and format" in run("--rows", "3", "--operators", "gemm").err


@pytest.mark.parametrize("gpu", ["NVIDIA L40S", "NVIDIA A100-SXM4-80GB"])
def test_a_folder_holds_rows_of_one_gpu(gpu: str, bench: ToyBench) -> None:
    run("--rows", "2", "--operators", "gemm")
    before = Path("rows/gemm.csv").read_bytes()
    bench.name = gpu
    bench.asked.clear()
    ran = run("--rows", "2", "--operators", "gemm,memory")
    assert ran.code == 2
    assert "llmplan: rows/gemm.csv: holds rows of h100-sxm, but this GPU is " in ran.err
    assert (bench.asked, Path("rows/gemm.csv").read_bytes()) == ([], before)


def test_a_gpu_of_an_unknown_name_takes_one_from_system(bench: ToyBench) -> None:
    bench.name = "Q 9000"
    ran = run("--rows", "2")
    assert ran.code == 2
    assert ran.err.startswith("llmplan: the GPU is 'Q 9000': ")
    assert ran.err.rstrip().endswith("name it with --system")
    assert run("--rows", "2", "--system", "l40s", "--operators", "gemm").code == 0
    assert {row["system"] for row in rows_of("rows/gemm.csv")} == {"l40s"}


@pytest.mark.parametrize("fmt", ["table", "csv", "json"])
def test_a_plan_needs_neither_a_gpu_nor_pytorch(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llmplan.kernel_cuda", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    ran = llmplan("calibrate", "run", "--plan-only", "--rows", "3", "--format", fmt, "--system", "l40s")
    assert (ran.code, ran.err) == (0, "")
    if fmt == "table":
        assert ran.out.startswith("Rows to measure on l40s\n")
        assert max(len(line) for line in ran.out.splitlines()) <= 100
    elif fmt == "csv":
        assert next(csv.DictReader(io.StringIO(ran.out)))["file"] == "gemm"
    else:
        assert {row["file"] for row in json.loads(ran.out)} == {
            "gemm", "attn_prefill", "attn_decode", "memory", "comm",
        }  # fmt: skip


def test_a_plan_is_what_a_run_measures(bench: ToyBench) -> None:
    told = json.loads(
        llmplan("calibrate", "run", "--plan-only", "--rows", "5", "--operators", "gemm", "-f", "json").out
    )
    run("--rows", "5", "--operators", "gemm")
    assert [(r["l2"], r["dtype"], r["m"], r["n"], r["k"]) for r in told] == [(r.l2, *r.key) for r in bench.asked]


def test_a_plan_for_nobody_says_for_which_gpu_it_is() -> None:
    assert llmplan("calibrate", "run", "--plan-only", "--rows", "1").err == "for h100-sxm; another GPU: --system\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--operators", "gem"), "llmplan: --operators gem: no operator 'gem'; did you mean gemm?"),
        (("--system", "h1oo"), "llmplan: --system h1oo: no GPU 'h1oo' in the catalog; "),
        (("--output-dir", "file"), "llmplan: --output-dir file: is a file; want a folder"),
        (("--output-dir", "no/such"), "llmplan: --output-dir no/such: no folder 'no'; make it first"),
        (("--output-dir", "other"), "llmplan: other/gemm.csv: has other columns than this command writes; "),
        (("--output-dir", "short"), "llmplan: short/gemm.csv: line 2: has 2 fields; want "),
        (("--rows", "0"), "llmplan: "),
        (("--minutes", "-1"), "llmplan: "),
    ],
)
def test_what_is_wrong_is_one_line(args: tuple[str, ...], said: str) -> None:
    Path("file").write_text("", "utf-8")
    for folder, text in (("other", "a,b\n"), ("short", ",".join(columns("gemm")) + "\n1,2\n")):
        Path(folder).mkdir()
        Path(folder, "gemm.csv").write_text(text, "utf-8")
    ran = run(*args)
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith(said)
    assert "Traceback" not in ran.err


def test_a_folder_must_be_named() -> None:
    ran = llmplan("calibrate", "run")
    assert ran.code == 2
    assert ran.err == "llmplan: calibrate run: where shall the rows go? give --output-dir DIR, or --plan-only\n"
