"""Fits find the parameters that made the rows, and say when there are too few."""

from __future__ import annotations

import numpy as np
import pytest

from llmplan.kernel_file import kernel_files
from llmplan.kernel_fit import TooFew, fitted
from llmplan.kernel_rows import Cell
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog
from llmplan.spec.kernels import KernelFits
from llmplan.spec.messages import read_as
from llmplan.spec.yaml_files import read_yaml

TARGET = Target(gpu=Catalog().gpu("h100"), link_bytes_per_s=450e9)
TRUE = {
    "short_s": 7e-6, "rank_s": 2e-6, "short_efficiency": 0.2, "long_s": 3e-5, "long_efficiency": 0.6, "contention": 1.1,
}  # fmt: skip


def cell_of(count):
    """Rows that the form of all-reduce made itself."""
    operator = OPERATORS["all_reduce"]
    size = np.geomspace(1e3, 1e9, count)
    columns = {"bytes": size, "ranks": np.array([2.0, 4.0, 8.0])[np.arange(count) % 3]}
    seconds = operator.predict(columns, TARGET, "float16", "nccl", TRUE)
    split = np.where(np.arange(count) % 5 == 0, "point", "train").astype(object)
    return Cell(
        operator=operator, dtype="float16", gpu="h100-sxm", kernel="nccl", library="nccl 2", target=TARGET,
        columns=columns, measured_s=seconds, split=split,
    )  # fmt: skip


def test_a_fit_finds_what_made_the_rows():
    found = fitted(cell_of(60))
    assert found.evidence.mdape < 1
    assert found.parameters["long_efficiency"] == pytest.approx(0.6, rel=0.05)
    assert found.parameters["short_s"] == pytest.approx(7e-6, rel=0.1)
    assert (found.evidence.rows, found.evidence.test_rows, found.evidence.left_out) == (48, 12, "points")


def test_a_fit_is_the_same_each_time():
    assert fitted(cell_of(40)) == fitted(cell_of(40))


def test_rows_left_out_change_no_parameter():
    cell = cell_of(60)
    spoiled = np.where(cell.split == "point", 1.0, cell.measured_s)
    other = Cell(**{name: getattr(cell, name) for name in Cell.__slots__} | {"measured_s": spoiled})
    assert fitted(other).parameters == fitted(cell).parameters


def test_too_few_rows_are_no_fit():
    cell = cell_of(12)
    assert fitted(cell) == TooFew(cell=cell, rows=12, needed=20)


def test_a_prior_holds_what_rows_do_not_tell():
    """Of two ranks alone nothing tells what a third one costs."""
    cell = cell_of(60)
    two = cell.columns["ranks"] == 2
    columns = {name: column[two] for name, column in cell.columns.items()}
    few = Cell(**{n: getattr(cell, n) for n in Cell.__slots__} | {
        "columns": columns, "measured_s": cell.measured_s[two], "split": cell.split[two],
    })  # fmt: skip
    assert fitted(few, prior=TRUE).parameters["rank_s"] == pytest.approx(TRUE["rank_s"], rel=0.02)


def test_a_written_file_is_read_back():
    found = fitted(cell_of(40))
    ((name, text),) = kernel_files({"h100-sxm": [found]}, "made up: here").items()
    assert name == "hardware/fits/h100-sxm.yaml"
    back = read_as(KernelFits, read_yaml(text, name))
    assert back.kernels == (found,)
    assert back.source == "made up: here"
