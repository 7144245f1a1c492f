"""Which kernel stands for which: an engine's choice, other formats, other devices; and files that cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmplan.errors import InputError
from llmplan.kernel_file import kernel_files
from llmplan.kernel_library import kernels_on, library_of
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()
ENGINE = CATALOG.engine("vllm")
ROOT = Path(__file__).resolve().parents[1]


def kernel(gpu, operator, dtype, engine=ENGINE):
    return kernels_on(CATALOG.gpu(gpu), engine, library_of(CATALOG))(operator, dtype)


def test_a_measured_gpu_takes_its_own_kernel():
    one = kernel("h100-sxm", "gemm", "bfloat16")
    assert (one.name, one.dtype, one.basis) == ("vllm", "bfloat16", "calibrated")


def test_the_engine_names_the_kernel_where_several_were_measured():
    assert kernel("h100-sxm", "moe", "fp8_block").name == "vllm_fp8moe_triton_tritonexperts"
    plain = ENGINE.model_copy(update={"kernels": {}})
    assert kernel("h100-sxm", "moe", "fp8_block", plain).name == "vllm_fp8moe_flashinfer_cutlass_flashinferexperts"


def test_a_choice_may_stand_on_the_rows_of_another_format():
    one = kernel("b200-sxm", "moe", "w4a16_mxfp4")
    assert one.dtype == "w4a8_mxfp4_mxfp8"
    assert one.basis == "calibrated"


@pytest.mark.parametrize("name", CATALOG.names("engines"))
def test_every_kernel_that_an_engine_names_was_measured(name):
    engine = CATALOG.engine(name)
    fitted = {
        (CATALOG.gpu(fits.gpu).architecture, f"{k.operator}.{k.dtype}", k.kernel)
        for fits in CATALOG.kernels()
        for k in fits.kernels
    }
    for architecture, choices in engine.kernels.items():
        for key, choice in choices.items():
            operator, _, dtype = key.partition(".")
            assert (architecture, f"{operator}.{choice.dtype or dtype}", choice.kernel) in fitted


def test_a_gpu_without_rows_takes_those_of_its_architecture_else_a_median():
    assert kernel("gh200", "gemm", "bfloat16").basis == "transferred"
    far = kernel("mi300x", "gemm", "bfloat16")
    assert (far.name, far.basis) == ("", "datasheet")


def test_a_format_without_rows_takes_its_kin_then_16_bit():
    assert kernel("a100-80-sxm", "moe", "nvfp4").dtype == "nvfp4"  # of B200: a median of one
    assert kernel("a100-80-sxm", "attn_decode", "int2").dtype == "bfloat16"


def catalog_with(tmp_path, change):
    text = (ROOT / "hardware/fits/h100-sxm.yaml").read_text("utf-8")
    folder = tmp_path / "hardware/fits"
    folder.mkdir(parents=True)
    (folder / "h100-sxm.yaml").write_text(change(text), "utf-8")
    return Catalog.with_folders([str(tmp_path)])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("feed_bytes", "fed", "has no feed_bytes; fit its rows anew with llmplan calibrate fit"),
        ("operator: gemm", "operator: gem", "no form times it"),
        ("dtype: bfloat16", "dtype: bf16", "no form times it"),
        ("overlap: 3", "overlap: -3", "want 1e-15 to 1e+15"),
        ("overlap: 3", "memory: 3, overlap: 3", "no form has a memory; want fixed_s, "),
        ("memory_efficiency: 0.9", "memory_efficiency: 9", "memory_efficiency is 9"),
        ("memory_efficiency: 0.9", "memory_efficiency: 0, was: 0.9", "memory_efficiency is 0; want 1e-15 to 1"),
    ],
)
def test_a_file_that_no_form_understands_is_one_line(tmp_path, old, new, said):
    with pytest.raises(InputError, match=r"/hardware/fits/h100-sxm.yaml: ") as told:
        library_of(catalog_with(tmp_path, lambda text: text.replace(old, new)))
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_parameters_of_ones_own_move_the_prediction(tmp_path):
    own = catalog_with(tmp_path, lambda text: text.replace("memory_efficiency: 0.9", "memory_efficiency: 0.4"))
    mine = kernels_on(own.gpu("h100-sxm"), ENGINE, library_of(own))
    values = [mine("attn_decode", dtype).parameters["memory_efficiency"] for dtype in ("bfloat16", "fp8")]
    shipped = [
        kernel("h100-sxm", "attn_decode", dtype).parameters["memory_efficiency"] for dtype in ("bfloat16", "fp8")
    ]
    assert values != shipped


def test_an_operator_nobody_measured_starts_where_its_fits_do():
    gpu = CATALOG.gpu("a100-80-sxm")
    one = kernels_on(gpu, ENGINE, library_of(CATALOG).without(gpu))("send_recv", "float16")
    assert one.basis == "datasheet"
    assert one.parameters == {"fixed_s": 1.5e-5, "link_efficiency": 0.7}


def folder_with(tmp_path, gpu, keep):
    """A catalog with some of the shipped H100 kernels as the fits of a GPU."""
    whole = CATALOG.fits("h100-sxm")
    own = whole.model_copy(update={"gpu": gpu, "kernels": tuple(one for one in whole.kernels if keep(one))})
    text = kernel_files({gpu: own.kernels}, "made up")[f"hardware/fits/{gpu}.yaml"]
    (tmp_path / "hardware/fits").mkdir(parents=True)
    (tmp_path / f"hardware/fits/{gpu}.yaml").write_text(text if own.kernels else text + "  []\n", "utf-8")
    return Catalog.with_folders([str(tmp_path)])


def test_a_file_of_ones_own_stands_before_the_shipped_one_and_hides_no_other_operator(tmp_path):
    own = folder_with(tmp_path, "l40s", lambda one: one.operator == "gemm")
    mine, shipped = (kernels_on(c.gpu("l40s"), ENGINE, library_of(c)) for c in (own, CATALOG))
    assert mine("gemm", "bfloat16").parameters == kernel("h100-sxm", "gemm", "bfloat16").parameters
    for operator, dtype in (("attn_decode", "bfloat16"), ("moe", "bfloat16"), ("all_reduce", "float16")):
        assert mine(operator, dtype).parameters == shipped(operator, dtype).parameters
    assert library_of(own).basis(own.gpu("l40s")) == "calibrated"


@pytest.mark.parametrize(("operators", "basis"), [((), "datasheet"), (("gemm",), "datasheet"), (None, "calibrated")])
def test_a_few_kernels_do_not_make_a_gpu_a_measured_one(tmp_path, operators, basis):
    own = folder_with(tmp_path, "mi300x", lambda one: operators is None or one.operator in operators)
    assert library_of(own).basis(own.gpu("mi300x")) == basis


def test_a_small_fit_of_one_gpu_does_not_move_its_relatives(tmp_path):
    own = folder_with(tmp_path, "gh200-96", lambda one: (one.operator, one.dtype) == ("gemm", "bfloat16"))
    path = tmp_path / "hardware/fits/gh200-96.yaml"
    path.write_text(path.read_text("utf-8").replace("rows: 11550", "rows: 300").replace("vllm", "own"), "utf-8")
    found = kernels_on(own.gpu("h100-nvl"), ENGINE, library_of(own))("gemm", "bfloat16")
    assert found.parameters == kernel("h100-sxm", "gemm", "bfloat16").parameters
