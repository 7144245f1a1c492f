"""Rows of measured kernels: what is read, what is refused and why, on which side of the split a row is."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from llmplan.errors import InputError
from llmplan.kernel_library import KernelLibrary
from llmplan.kernel_rows import measured_rows
from llmplan.kernel_scores import document, errors, predictions, row_table, scores
from llmplan.perf.kernels.forms import OPERATORS, Target, roofline_s
from llmplan.spec.catalog import Catalog
from llmplan.spec.kernels import KernelEvidence, KernelFit

CATALOG = Catalog()
HEADER = "system,backend,version,dtype,m,n,k,time_us"


def target(name):
    return Target(gpu=CATALOG.gpu("h100"), link_bytes_per_s=450e9) if name == "h100_sxm" else None


def gemm_rows(*rows, name="gemm.csv"):
    return measured_rows([(name, "\n".join([HEADER, *rows]) + "\n")], target)


def good(m=64, time_us=20.0):
    return f"h100_sxm,vllm,0.1,bfloat16,{m},4096,4096,{time_us}"


def test_rows_of_one_kernel_become_one_cell():
    found = gemm_rows(good(1), good(2), good(4).replace("vllm", "sglang"))
    assert [(c.gpu, c.dtype, c.kernel, len(c.measured_s)) for c in found.cells] == [
        ("h100-sxm", "bfloat16", "sglang", 1),
        ("h100-sxm", "bfloat16", "vllm", 2),
    ]
    assert found.cells[1].measured_s == pytest.approx([2e-5, 2e-5])
    assert not +found.refused


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (good(time_us="nan"), "malformed"),
        (good(time_us=-1), "malformed"),
        (good(m="many"), "malformed"),
        (good(m=0), "malformed"),
        (good(m=1e300), "malformed"),
        (good() + ",1", "missing_field"),
        ("h100_sxm,vllm", "missing_field"),
        (good().replace("h100_sxm", "abacus"), "no_hardware"),
        (good().replace("bfloat16", "fp3"), "no_form"),
        (good(1), "duplicate"),
    ],
)
def test_what_cannot_be_used_is_counted_by_reason(row, reason):
    found = gemm_rows(good(1), row, good(2))
    assert +found.refused == {reason: 1}
    assert sum(len(c.measured_s) for c in found.cells) == 2


@pytest.mark.parametrize(
    ("topk", "experts", "ep"),
    [(2, 8, 3), (9, 8, 1), (2, 1e9, 1), (2, 8, 16), (0.1, 8, 1), (2, 8, 0.1), ("nan", 8, 1), (2, "inf", 1)],
)
def test_experts_that_cannot_be_are_malformed(topk, experts, ep):
    header = "system,kernel,dtype,tokens,hidden,inter,topk,experts,tp,ep,distribution,time_us"
    fine = "h100_sxm,k,bfloat16,64,2048,1024,2,8,1,1,balanced,90"
    odd = f"h100_sxm,k,bfloat16,64,2048,1024,{topk},{experts},1,{ep},balanced,90"
    found = measured_rows([("moe.csv", f"{header}\n{fine}\n{odd}\n")], target)
    assert +found.refused == {"malformed": 1}
    assert len(found.cells[0].measured_s) == 1


@pytest.mark.parametrize("factor", [1e-3, 1e6])
def test_a_file_in_another_unit_is_refused_whole(factor):
    found = gemm_rows(*(good(m, 20 * factor) for m in (1, 2, 3)))
    assert +found.refused == {"wrong_unit": 3}
    assert found.cells == []


def test_a_file_without_a_column_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"^d/gemm.csv: has no column k; want dtype, m, n, k, time_us$"):
        measured_rows([("d/gemm.csv", "system,dtype,m,n,time_us\n")], target)


def test_columns_nobody_knows_and_files_of_other_names_are_ignored():
    text = f"{HEADER},mood\n{good()},fine\n"
    assert len(measured_rows([("gemm.csv", text), ("notes.csv", "a,b\n")], target).cells) == 1


def test_a_row_is_on_the_side_of_its_checksum():
    shapes = [(m, n) for m in (1, 8, 64) for n in range(1024, 1424)]
    rows = [f"h100_sxm,vllm,0.1,bfloat16,{m},{n},4096,20" for m, n in shapes]
    (cell,) = gemm_rows(*rows).cells
    for (m, n), side in zip(shapes, cell.split, strict=True):
        group = crc32(f"g{n}|4096".encode()) % 5 == 0
        point = crc32(f"hbfloat16|{m}|{n}|4096".encode()) % 5 == 0
        assert side == ("group" if group else "point" if point else "train")
    assert set(cell.split) == {"group", "point", "train"}


def test_errors_are_those_of_their_definitions():
    told = errors(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    assert (told.n, told.mdape, told.bias) == (3, 50, 0)
    assert told.mape == pytest.approx(100 / 3)
    assert told.wape == pytest.approx(100 * 2 / 6)


def fit(kernel, rows, **parameters):
    evidence = KernelEvidence(rows=rows, test_rows=1, left_out="points", mdape=1, p90=1, wape=1, bias=0)
    return KernelFit(
        operator="gemm", dtype="bfloat16", kernel=kernel, library=kernel, parameters=parameters, evidence=evidence
    )


def test_a_library_takes_the_kernel_then_its_kin_then_the_typical():
    library = KernelLibrary(
        {"h100-sxm": [fit("a", 10, overlap=1.0), fit("b", 20, overlap=2.0)], "l40s": [fit("a", 5, overlap=16.0)]},
        {"h100-sxm": "hopper", "l40s": "ada"},
    )

    def found(gpu, kernel, known=library):
        one = known.find(CATALOG.gpu(gpu), "gemm", "bfloat16", kernel)
        return None if one is None else (one.parameters["overlap"], one.basis)

    assert found("h100-sxm", "a") == (1, "calibrated")
    assert found("h100-sxm", "other") == (2, "transferred")
    assert found("h200-sxm", "a") == (1, "transferred")
    assert found("mi300x", "a") == (pytest.approx(4), "datasheet")
    assert found("h200-sxm", "a", library.without(CATALOG.gpu("h200-sxm"), family=True)) == (
        pytest.approx(16),
        "datasheet",
    )
    assert found("h100-sxm", "a", library.without(CATALOG.gpu("h100-sxm"))) == (pytest.approx(16), "datasheet")
    assert library.find(CATALOG.gpu("h100"), "gemm", "fp8", "a") is None


def test_the_document_holds_what_the_contract_names():
    measured = gemm_rows(*(good(m) for m in range(1, 60)), good().replace("h100_sxm", "abacus"))
    predicted = list(predictions(measured, KernelLibrary({one.gpu: one.kernels for one in CATALOG.kernels()}, {})))
    told = document("d", measured, scores(predicted))
    assert told["kind"] == "validation"
    assert told["coverage"] == {"ran": 59, "refused": {"no_hardware": 1}}
    (file,) = told["inputs"]["files"]
    assert (file["name"], file["rows"], len(file["sha256"])) == ("gemm.csv", 60, 64)
    names = {"op", "dtype", "gpu", "kernel", "split", "n", "mdape", "mape", "p90", "wape", "bias", "basis"}
    assert all(names <= set(row) for row in told["rows"])
    assert sum(row["n"] for row in told["rows"]) == 59 == len(row_table(predicted))


def test_every_shipped_row_is_read_and_predicted():
    def known(name):
        gpu = CATALOG.gpu(name)
        return Target(gpu=gpu, link_bytes_per_s=CATALOG.link(gpu.link or gpu.host_link).bytes_per_s)

    measured = measured_rows(
        ((name, text) for name, text in CATALOG.kernel_rows() if not name.startswith("vidur")), known
    )
    library = KernelLibrary({one.gpu: one.kernels for one in CATALOG.kernels()}, {})
    predicted = list(predictions(measured, library))
    assert {one.cell.operator.name for one in predicted} >= {"gemm", "attn_prefill", "attn_decode", "moe", "all_reduce"}
    assert {one.basis for one in predicted} == {"calibrated"}
    assert set(+measured.refused) == {"other_kernel"}
    assert not any((one.cell.split == "train").any() for one in predicted)
    every = errors(
        np.concatenate([one.seconds for one in predicted]), np.concatenate([one.cell.measured_s for one in predicted])
    )
    assert every.mdape < 12  # one number over all operators only shows that nothing is broken
    assert set(OPERATORS) >= {one.cell.operator.name for one in predicted}
    for one in predicted:
        cell = one.cell
        assert np.isfinite(roofline_s(cell.operator, cell.columns, cell.target, cell.dtype, cell.kernel)).all()
