"""Residuals of kernels: made from rows of fits, kept where they help, used with the parameters they belong to only."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from llmplan.cli.measured import read_measured
from llmplan.errors import InputError
from llmplan.kernel_library import library_of
from llmplan.kernel_residual_rows import kernel_residuals
from llmplan.kernel_residuals import (
    ResidualLibrary,
    numbers_of,
    parameters_hash,
    probe_places,
    read_residuals,
    residual_lines,
)
from llmplan.kernel_rows import Cell
from llmplan.kernel_scores import Predicted, errors, predictions
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog
from llmplan.spec.residuals import RESIDUALS_FORMAT, ResidualsHead

ROOT = Path(__file__).parents[1]
CATALOG = Catalog()
TARGET = Target(gpu=CATALOG.gpu("h100"), link_bytes_per_s=450e9)
PARAMETERS = {"fixed_s": 2e-6, "memory_efficiency": 0.8}
HEAD = ResidualsHead(
    residuals=RESIDUALS_FORMAT, gpu="h100-sxm", source="made up", license="none", made="2026-01-31"
)  # fmt: skip
SHIPPED = sorted((ROOT / "hardware" / "residuals").iterdir())
AGAIN = "run python tools/ship_residuals.py --data DIR"


def predicted(bend=0.3, operator="add", dtype="float16", sides=("point", "train", "train")):
    """Rows that are slower than the form in a smooth way; with `bend` 0 they differ from it by chance."""
    here = OPERATORS[operator]
    tokens, hidden = (a.ravel() for a in np.meshgrid(2.0 ** np.arange(1, 14), 512.0 * np.arange(1, 9)))
    columns = {name: np.ones_like(tokens) for name in here.columns} | {"tokens": tokens, "hidden": hidden}
    seconds = here.predict(columns, TARGET, dtype, "k", PARAMETERS)
    noise = 0.05 * np.where(np.arange(len(tokens)) % 2, 1, -1) if not bend else 0.0
    split = np.array(sides)[np.arange(len(tokens)) % len(sides)].astype(object)
    cell = Cell(
        operator=here, dtype=dtype, gpu="h100-sxm", kernel="k", library="l 1", target=TARGET, columns=columns,
        measured_s=seconds * np.exp(bend * np.log2(tokens) / 13 + noise), split=split,
    )  # fmt: skip
    return Predicted(cell=cell, seconds=seconds, basis="calibrated")


def text_of(one):
    return "".join(f"{line}\n" for line in residual_lines(HEAD, [one]))


def residuals_of(one):
    return ResidualLibrary(lambda gpu: ("toy", text_of(one)) if gpu == "h100-sxm" else None)


def asked(library, one, parameters=PARAMETERS, target=TARGET, kernel="k"):
    cell = one.cell
    return library.ln_factor(target, cell.operator, cell.dtype, kernel, parameters, cell.columns)


def test_rows_of_fits_tell_of_points_left_out():
    one = predicted()
    left = asked(residuals_of(kernel_residuals(one, PARAMETERS)), one)
    out = one.cell.split == "point"
    before = errors(one.seconds[out], one.cell.measured_s[out])
    after = errors((one.seconds * np.exp(left))[out], one.cell.measured_s[out])
    assert after.mdape < before.mdape / 5
    known = ~out
    assert left[known] == pytest.approx(np.log(one.cell.measured_s / one.seconds)[known], abs=0.5e-3 + 1e-9)


def test_rows_left_out_change_no_residual():
    one = predicted()
    spoiled = np.where(one.cell.split == "point", 1.0, one.cell.measured_s)
    other = replace(one, cell=Cell(**{n: getattr(one.cell, n) for n in Cell.__slots__} | {"measured_s": spoiled}))
    assert kernel_residuals(other, PARAMETERS) == kernel_residuals(one, PARAMETERS)


def test_what_does_not_help_or_is_too_few_is_not_kept():
    assert kernel_residuals(predicted(bend=0), PARAMETERS) is None
    assert kernel_residuals(predicted(sides=("point",) * 19 + ("train",)), PARAMETERS) is None


def test_a_file_has_the_same_bytes_and_is_read_back():
    one = kernel_residuals(predicted(), PARAMETERS)
    assert text_of(one) == text_of(kernel_residuals(predicted(), PARAMETERS))
    head, (back,) = read_residuals(text_of(one), "toy")
    assert (head, back) == (HEAD, one)
    assert sorted(numbers_of(back)["tokens"]) == sorted(
        predicted().cell.columns["tokens"][predicted().cell.split == "train"]
    )


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        (PARAMETERS | {"fixed_s": 2.1e-6}, TARGET),
        (PARAMETERS, replace(TARGET, gpu=TARGET.gpu.model_copy(update={"memory_bytes_per_s": 3e12}))),
    ],
    ids=["parameters of one's own", "another datasheet"],
)
def test_stale_residuals_are_left_out_with_a_word(parameters, target):
    one = predicted()
    library = residuals_of(kernel_residuals(one, PARAMETERS))
    assert asked(library, one, parameters, target) is None
    assert library.notes() == [
        "h100-sxm: residuals of add belong to other parameters, forms or device figures; predicted without them"
    ]


def test_a_kernel_without_rows_has_no_residuals_and_no_note():
    one = predicted()
    library = residuals_of(kernel_residuals(one, PARAMETERS))
    assert asked(library, one, kernel="other") is None
    assert asked(library, one, target=replace(TARGET, gpu=CATALOG.gpu("l40s"))) is None
    assert library.notes() == []


def test_a_hash_is_of_names_and_values_in_any_order():
    told = parameters_hash(PARAMETERS)
    assert told == parameters_hash(dict(reversed(PARAMETERS.items())))
    assert told != parameters_hash(PARAMETERS | {"fixed_s": 2.001e-6})


def test_probes_are_the_first_the_last_and_some_between():
    assert probe_places(1).tolist() == [0]
    assert probe_places(3).tolist() == [0, 1, 2]
    assert len(probe_places(1000)) == 8
    assert probe_places(1000)[-1] == 999


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"residuals":1', '"residuals":2', "toy: is of format 2; want 1"),
        ('"residuals":1', '"residuals":"x"', "toy: line 1: residuals: 'x' does not fit; want a whole number"),
        ('{"residuals":1', '["residuals",1', "toy: line 1: is no JSON; want one object"),
        ('"kernel":"k"', '"kernel":1', "toy: line 2: kernel: 1 does not fit; want text"),
        ('"moves_per_mille":[', '"moves_per_mille":[1,', "toy: line 2: tp has 69 rows; want 70"),
        ('"moves_per_mille":[', '"moves_per_mille":[9', "toy: line 2: moves_per_mille leaves -7000 to 7000"),
        ('"tp":{"values":[1]', '"tp":{"values":[]', "toy: line 2: tp names a value that it does not list"),
        ('"tp":{"values":[1]', '"tp":{"values":[-1]', "toy: line 2: tp holds -1 to -1; want 0 to 1e13"),
    ],
)
def test_a_broken_file_is_one_line(old, new, said):
    text = text_of(kernel_residuals(predicted(), PARAMETERS))
    if "9" in new:
        new = new.replace("9", "9999,")
        text = text.replace('"moves":[', '"moves":[0,')
    assert old in text
    with pytest.raises(InputError) as raised:
        read_residuals(text.replace(old, new), "toy")
    assert str(raised.value).startswith(said)


def test_a_file_that_is_no_gzip_is_one_line(tmp_path):
    folder = tmp_path / "hardware" / "residuals"
    folder.mkdir(parents=True)
    (folder / "h100-sxm.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"h100-sxm.jsonl.gz: cannot be read"):
        Catalog.with_folders([str(tmp_path)]).kernel_residuals("h100-sxm")


@cache
def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_collective_lends_its_rows_to_other_formats():
    def rows(dtype, skipped):
        here = OPERATORS["all_gather"]
        columns = {"bytes": 4.0 ** np.arange(4, 16), "ranks": np.full(12, 8.0)}
        split = np.where(np.arange(12) % 6 == skipped, "point", "train").astype(object)
        fit = {p.name: p.start for p in here.parameters(dtype)}
        seconds = here.predict(columns, TARGET, dtype, "nccl", fit)
        cell = Cell(
            operator=here, dtype=dtype, gpu="h100-sxm", kernel="nccl", library="n", target=TARGET, columns=columns,
            measured_s=seconds * np.exp(0.2 + 0.1 * np.sin(3 * np.arange(12))), split=split,
        )  # fmt: skip
        return Predicted(cell=cell, seconds=seconds, basis="calibrated"), fit

    (one, fit), (other, _) = rows("float16", 2), rows("int8", 3)
    lent = list(tool("ship_residuals").lent(one, fit, [one, other]))
    assert [part.cell.dtype for part in lent] == ["int8"]
    made = kernel_residuals(one, fit, lent)
    assert len(made.moves_per_mille) == 12  # two of them borrowed
    left = asked(residuals_of(made), one, fit, kernel="nccl")
    assert left == pytest.approx(np.log(one.cell.measured_s / one.seconds), abs=0.5e-3 + 1e-9)
    assert list(tool("ship_residuals").lent(predicted(), PARAMETERS, [one, other, predicted()])) == []


def test_shipped_files_are_small_named_and_sourced():
    assert [path.name.removesuffix(".jsonl.gz") for path in SHIPPED] == CATALOG.names("fits")
    assert sum(path.stat().st_size for path in SHIPPED) < 1_500_000
    for path in SHIPPED:
        assert path.read_bytes()[4:8] == b"\0\0\0\0", "gzip of a fixed time"
        head, kernels = read_residuals(gzip.decompress(path.read_bytes()).decode(), path.name)
        assert f"{head.gpu}.jsonl.gz" == path.name
        assert head.source
        assert "NOTICE" in head.license
        assert sum(len(one.moves_per_mille) for one in kernels) > 30_000


@pytest.mark.parametrize("gpu", CATALOG.names("fits"))
def test_shipped_residuals_belong_to_the_shipped_parameters(gpu):
    here = CATALOG.gpu(gpu)
    target = Target(gpu=here, link_bytes_per_s=CATALOG.link(here.link or here.host_link).bytes_per_s)
    residuals, library = ResidualLibrary(CATALOG.kernel_residuals), library_of(CATALOG)
    for one in residuals.kernels(gpu):
        fit = library.find(here, one.operator, one.dtype, one.kernel)
        assert fit is not None
        assert fit.basis == "calibrated", AGAIN
        assert one.own_shapes_only or one.operator != "moe"
        columns = {name: column[:3] for name, column in numbers_of(one).items()}
        left = residuals.ln_factor(target, OPERATORS[one.operator], one.dtype, one.kernel, fit.parameters, columns)
        assert left is not None, f"{one.operator} {one.dtype}: {AGAIN}"
        assert np.isfinite(left).all()
    assert residuals.notes() == []


@cache
def shipped_rows(residuals):
    taken = ResidualLibrary(CATALOG.kernel_residuals) if residuals else None
    return list(predictions(read_measured(None, CATALOG), library_of(CATALOG), residuals=taken))


@pytest.mark.parametrize(
    ("operator", "most"), [("gemm", 5), ("attn_prefill", 5), ("attn_decode", 5), ("moe", 6), ("all_gather", 5)]
)
def test_residuals_predict_points_left_out(operator, most):
    def middle(residuals):
        found = [
            errors(one.seconds[rows], one.cell.measured_s[rows]).mdape
            for one in shipped_rows(residuals)
            if one.cell.operator.name == operator and (rows := one.cell.split == "point").any()
        ]
        return np.median(found)

    assert middle(True) <= most
    assert middle(True) < middle(False) / 1.3


def test_experts_of_models_without_rows_stay_as_the_form_says():
    for plain, told in zip(shipped_rows(False), shipped_rows(True), strict=True):
        if plain.cell.operator.name == "moe":
            rows = plain.cell.split == "group"
            assert np.array_equal(plain.seconds[rows], told.seconds[rows])


def test_a_hidden_gpu_has_no_residuals():
    measured, library = read_measured(None, CATALOG), library_of(CATALOG)
    measured.cells = [cell for cell in measured.cells if cell.operator.name == "attn_decode"]
    taken = ResidualLibrary(CATALOG.kernel_residuals)
    hidden = list(predictions(measured, library, "gpu", taken))
    for one, plain in zip(hidden, predictions(measured, library, "gpu"), strict=True):
        assert np.array_equal(one.seconds, plain.seconds)
    assert taken.notes() == []


def test_the_page_shows_the_table_of_errors():
    table = (ROOT / "validation" / "residuals.md").read_text("utf-8")
    page = (ROOT / "docs" / "methods" / "kernels.md").read_text("utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 2 + 8 + 6
    assert [line for line in rows if line not in page] == []
