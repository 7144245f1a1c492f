"""Tools that write the tables of kernels: terms taken out, and tables of raw times."""

from __future__ import annotations

import numpy as np
import pytest
from ablate_kernels import ABLATIONS, DTYPE, expected_rows, plain_product, with_fixed
from score_unseen_gpus import from_table

from llmplan.kernel_rows import Cell, Measured
from llmplan.perf.kernels.forms import OPERATORS, Target, roofline_s
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()
TARGET = Target(gpu=CATALOG.gpu("h100"), link_bytes_per_s=450e9)


def cell_of(name, measured_s=1e-5, **columns):
    operator = OPERATORS[name]
    wide = {c: np.asarray(columns[c], dtype=float) for c in operator.columns}
    count = len(next(iter(wide.values())))
    return Cell(
        operator=operator, dtype=DTYPE, gpu="h100-sxm", kernel="k", library="k", target=TARGET,
        columns=operator.prepare(wide), measured_s=np.full(count, measured_s), split=np.full(count, "train", object),
    )  # fmt: skip


def predicted(cell, **parameters):
    start = {p.name: p.start for p in cell.operator.parameters(cell.dtype)}
    return cell.operator.predict(cell.columns, cell.target, cell.dtype, cell.kernel, {**start, **parameters})


PRODUCTS = {"m": [1, 64, 4096], "n": [4096, 4096, 8192], "k": [4096, 4096, 8192]}
TOKENS = np.array([1.0, 64.0, 4096.0])
EXPERTS = {
    "tokens": TOKENS, "hidden": TOKENS * 0 + 4096, "inter": TOKENS * 0 + 1024, "topk": TOKENS * 0 + 8,
    "experts": TOKENS * 0 + 128, "tp": TOKENS * 0 + 1, "ep": TOKENS * 0 + 1, "skew": TOKENS * 0,
}  # fmt: skip


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda a: f"{a.operator} {a.name}")
def test_every_fixed_parameter_is_one_of_its_form(ablation):
    known = {p.name for p in OPERATORS[ablation.operator].parameters(DTYPE)}
    assert ablation.fixed.keys() <= known


def test_a_fixed_parameter_is_neither_fitted_nor_overruled():
    cell = cell_of("gemm", **PRODUCTS)
    here = with_fixed(cell, {"fixed_s": 0.0})
    assert "fixed_s" not in {p.name for p in here.operator.parameters(DTYPE)}
    assert predicted(here) == pytest.approx(predicted(cell, fixed_s=0.0))
    assert (predicted(here) < predicted(cell)).all()
    with pytest.raises(SystemExit, match="gemm has no parameter wave; mend ABLATIONS"):
        with_fixed(cell, {"wave": 0.0})


def test_a_plain_product_at_full_efficiency_is_the_roofline():
    here = plain_product(cell_of("gemm", **PRODUCTS))
    told = predicted(here, fixed_s=1e-12, compute_efficiency=1.0, memory_efficiency=1.0, overlap=60.0, l2_share=1e-9)
    floor = roofline_s(here.operator, here.columns, here.target, here.dtype, here.kernel)
    assert told == pytest.approx(floor, rel=0.02)


def test_expected_rows_are_those_of_a_uniform_router():
    c = expected_rows(cell_of("moe", **EXPERTS)).columns
    assert c["rows"].tolist() == [8, 512, 32768]
    assert c["active"] == pytest.approx([8, 128 * (1 - (1 - 8 / 128) ** 64), 128], rel=1e-6)
    assert c["tiles_64"][-1] == pytest.approx(128 * 4)


def test_a_table_gives_its_own_rows_back_and_the_mean_of_logs_between_them():
    cell = cell_of("gemm", m=[1, 3, 7, 3], n=[64] * 4, k=[64] * 4)
    times = np.array([1e-6, 4e-6, 1.6e-5, 9.0])
    held = Cell(**{name: getattr(cell, name) for name in Cell.__slots__} | {"measured_s": times})
    (all_of_them,) = from_table(Measured(cells=[held]), lambda _: np.arange(3))
    assert all_of_them.seconds == pytest.approx([1e-6, 4e-6, 1.6e-5, 4e-6], rel=0.05)
    (two,) = from_table(Measured(cells=[held]), lambda _: np.array([0, 2]))
    assert two.seconds[1] == pytest.approx(4e-6, rel=1e-6)  # ln 4 lies midway between ln 2 and ln 8
