"""What `llmplan calibrate import` writes, tells and refuses."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest
from commands import Ran, llmplan

FOREIGN = Path(__file__).parents[1] / "data" / "foreign"
TEXT = str(FOREIGN / "nccl-tests.txt")
GEMM = str(FOREIGN / "gemm_perf.txt")


def imported(*args: str, system: str = "H100") -> Ran:
    return llmplan("calibrate", "import", *args, "--system", system)


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rows_of_several_formats_are_fitted_and_scored_from_one_folder(at: Path) -> None:
    perf = sorted(str(path) for path in FOREIGN.glob("*_perf.*"))
    ran = imported(TEXT, *perf, "--output-dir", "rows")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[:2] == [
        "rows/gemm.csv: 12 rows of h100-sxm, written",
        "rows/attn_prefill.csv: 7 rows of h100-sxm, written",
    ]
    assert ran.err.splitlines() == [
        "refused rows: 1 impossible_shape, 1 malformed, 1 other_gpu, 1 unknown_distribution, 1 unknown_dtype",
        "merged rows: 1 into the median of their key",
        "rows that no form predicts yet: 6 no_form",
        "llmplan calibrate fit rows",
    ]
    assert sorted(path.name for path in (at / "rows").iterdir()) == [
        *("attn_decode.csv", "attn_prefill.csv", "comm.csv", "gemm.csv", "mla_decode.csv", "mla_prefill.csv"),
        "moe.csv",
    ]
    assert llmplan("validate", "kernels", "--data", "rows").code == 0
    fit = llmplan("calibrate", "fit", "rows", "--output-dir", "own")
    assert (fit.code, "refused rows: 6 no_form" in fit.err) == (0, True)
    assert (at / "own/hardware/fits/h100-sxm.yaml").is_file()


def test_without_a_folder_nothing_is_written(at: Path) -> None:
    ran = imported(GEMM)
    assert (ran.code, ran.out) == (0, "gemm.csv: 12 rows of h100-sxm, not written\n")
    assert ran.err.endswith("nothing written; --output-dir DIR writes it\n")
    assert list(at.iterdir()) == []
    assert imported(GEMM, "-q").err == ""


def test_a_file_that_is_there_is_replaced_only_when_asked(at: Path) -> None:
    assert imported(GEMM, "--output-dir", "rows").code == 0
    before = (at / "rows/gemm.csv").read_text("utf-8")
    assert "as it was" in imported(GEMM, "--output-dir", "rows").out
    (at / "rows/gemm.csv").write_text("mine\n", "utf-8")
    ran = imported(GEMM, TEXT, "--output-dir", "rows")
    assert (ran.code, "gemm.csv exists; give another folder or --overwrite" in ran.err) == (2, True)
    assert not (at / "rows/comm.csv").exists()
    assert imported(GEMM, "--output-dir", "rows", "--overwrite").code == 0
    assert (at / "rows/gemm.csv").read_text("utf-8") == before


def test_one_bad_file_writes_nothing(at: Path) -> None:
    (at / "bad.csv").write_text("a,b\n1,2\n", "utf-8")
    assert imported(GEMM, "bad.csv", "--output-dir", "rows").code == 2
    assert not (at / "rows").exists()


def test_a_gzipped_text_and_standard_input_are_read(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Path(TEXT).read_bytes()
    (at / "log.txt.gz").write_bytes(gzip.compress(raw))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert imported("log.txt.gz").out == imported("-").out == "comm.csv: 15 rows of h100-sxm, not written\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nowhere.csv",), "llmplan: nowhere.csv: no such file; pick one of empty.csv"),
        (("nowhere.parquet",), "llmplan: nowhere.parquet: no such file; give a Parquet file"),
        ((".",), "llmplan: .: is a folder; want files such as ./*.csv"),
        (("empty.csv",), "llmplan: empty.csv: holds nothing; want rows of measured kernels"),
        (("odd.bin",), "llmplan: odd.bin: is no UTF-8 text"),
        ((GEMM, "--format", "vidura"), "llmplan: --format: 'vidura' is not known here; did you mean vidur?"),
        ((GEMM, "--format", "nccl-tests"), f"llmplan: {GEMM}: holds no table of nccl-tests; want"),
        ((GEMM, "--format", "vidur"), f"llmplan: {GEMM}: is no table of Vidur"),
        ((TEXT, "--format", "aiconfigurator"), f"llmplan: {TEXT}: is no table of AIConfigurator"),
        ((TEXT, "--op", "all_sum"), "llmplan: --op: 'all_sum' is not known here; "),
        ((TEXT, "--output-dir", "empty.csv"), "llmplan: --output-dir empty.csv: is a file; want a folder"),
    ],
)
def test_what_is_wrong_is_one_line(args: tuple[str, ...], said: str, at: Path) -> None:
    (at / "empty.csv").write_text("", "utf-8")
    (at / "odd.bin").write_bytes(b"\xff\xfe\x00")
    ran = imported(*args)
    assert ran.code == 2
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


def test_a_gpu_that_is_none_offers_near_names() -> None:
    ran = imported(GEMM, system="h10")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("llmplan: --system h10: no GPU 'h10' in the catalog; did you mean H100")


def test_parquet_without_pyarrow_says_what_to_install(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (at / "gemm_perf.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ran = imported("gemm_perf.parquet")
    assert ran.code == 2
    assert ran.err == (
        "llmplan: gemm_perf.parquet: is Parquet; pip install 'llmplan[import]' reads it, or give it as CSV\n"
    )


def test_parquet_is_read_like_its_csv(at: Path) -> None:
    csv = pytest.importorskip("pyarrow.csv")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = csv.read_csv(FOREIGN / "moe_perf.csv")
    parquet.write_table(table, at / "moe_perf.parquet")
    parquet.write_table(table.slice(0, 0), at / "none.parquet")
    (at / "cut.parquet").write_bytes(b"PAR1 and no more")
    text, binary = (
        imported(name, "--output-dir", folder)
        for name, folder in ((str(FOREIGN / "moe_perf.csv"), "text"), ("moe_perf.parquet", "binary"))
    )
    assert (text.code, binary.code, text.err) == (0, 0, binary.err.replace("binary", "text"))
    assert (at / "text/moe.csv").read_text("utf-8") == (at / "binary/moe.csv").read_text("utf-8")
    for name, said in (("none", "holds a header and no rows"), ("cut", "is no Parquet that can be read")):
        ran = imported(f"{name}.parquet")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert ran.err.startswith(f"llmplan: {name}.parquet: {said}")
