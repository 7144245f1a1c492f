"""Which kernels are measured: spread evenly, always the same, and within the device."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llmplan.errors import InputError
from llmplan.kernel_plan import (
    L2_TIMES,
    MEMORY_SHARE,
    Device,
    Planned,
    _places,
    _points,
    copies,
    need_bytes,
    operators_of,
    planned,
    set_bytes,
)
from llmplan.kernel_rows import measured_rows
from llmplan.perf.kernels.forms import Target
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()
EVERY = operators_of("gemm,attention,memory,collectives")


def device(name: str, devices: int = 1) -> Device:
    return Device(target=Target(gpu=CATALOG.gpu(name), link_bytes_per_s=450e9), devices=devices)


def test_every_operator_and_format_has_the_rows_that_a_fit_needs():
    found = Counter((row.cell, row.l2) for row in planned(device("h100", 2), EVERY, CATALOG))
    for cell in (("gemm", "bfloat16"), ("gemm", "fp8"), ("attn_prefill", "bfloat16"), ("attn_decode", "bfloat16")):
        assert found[cell, "warm"] == 72
        assert found[cell, "cold"] >= 60
    for op in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        assert found[(op, "float16"), "warm"] >= 20
        assert found[(op, "float16"), "cold"] == 0


def test_a_plan_is_the_same_each_time_and_another_seed_is_another_plan():
    here = device("l40s")
    assert planned(here, ("gemm",), CATALOG, 60) == planned(here, ("gemm",), CATALOG, 60)
    assert set(planned(here, ("gemm",), CATALOG, 60)) != set(planned(here, ("gemm",), CATALOG, 60, seed=1))


@pytest.mark.parametrize("name", ["h100", "l4", "t4", "b200"])
def test_rows_are_planned_once_and_fit_into_memory(name):
    here = device(name, 8)
    plan = planned(here, EVERY, CATALOG, 100)
    assert len(set(plan)) == len(plan)
    assert all(need_bytes(row, here.l2_bytes) <= MEMORY_SHARE * here.gpu.memory_bytes for row in plan)


def test_a_gpu_without_fp8_is_not_asked_for_it():
    assert {row.cell for row in planned(device("a100-80-sxm"), ("gemm",), CATALOG)} == {("gemm", "bfloat16")}


def test_one_gpu_has_no_collectives():
    assert planned(device("h100", 1), ("comm",), CATALOG) == []
    assert {row.values["ranks"] for row in planned(device("h100", 4), ("comm",), CATALOG)} == {2, 4}


def test_cold_rows_never_find_what_a_call_before_them_left():
    here = device("h100")
    cold = [row for row in planned(here, EVERY, CATALOG) if row.l2 == "cold"]
    assert cold
    for row in cold:
        assert copies(row, here.l2_bytes) * sum(set_bytes(row)) >= L2_TIMES * here.l2_bytes


def test_warm_products_rotate_six_copies_of_their_weights_as_the_shipped_rows_do():
    row = Planned(file="gemm", l2="warm", key=("bfloat16", 10, 32, 16))
    assert copies(row, 1e6) == 6
    assert need_bytes(row, 1e6) == 6 * 2 * 32 * 16 + 2 * 10 * (16 + 32)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_points_fill_a_cube_more_evenly_than_chance(dimensions):
    """Halves of each axis hold half of the points, to one in twenty."""
    points = _points(64, dimensions, 0)
    assert np.abs((points < 0.5).mean(axis=0) - 0.5).max() <= 0.05
    assert len(np.unique(points[:, 0] // (1 / 16))) == 16


def test_chosen_rows_reach_all_over_the_grid():
    """No row of the grid is far from a chosen one, and every quarter of each axis is measured."""
    here = device("h100")
    some = [row for row in planned(here, ("gemm",), CATALOG, 72) if row.l2 == "warm" and row.cell[1] == "bfloat16"]
    whole = [row for row in planned(here, ("gemm",), CATALOG, 10**6) if row.l2 == "warm" and row.cell[1] == "bfloat16"]
    order = dict(zip(whole, _places(whole), strict=True))
    chosen = np.array([order[row] for row in some])
    every = np.array(list(order.values()))
    nearest = np.min(((every[:, None] - chosen[None]) ** 2).sum(axis=2), axis=1) ** 0.5
    assert nearest.max() < 0.45
    for axis in range(3):
        assert np.histogram(chosen[:, axis], 4, (0, 1))[0].min() >= 5


def test_planned_keys_are_those_of_the_rows_and_possible():
    """A time for each planned row makes rows of which none is refused for its shape."""
    for file in ("gemm", "attn_prefill", "attn_decode", "comm"):
        rows = [row for row in planned(device("h100", 8), (file,), CATALOG) if row.l2 == "warm"]
        head = ("system", "backend", "version", "kernel", *rows[0].values, "time_us")
        lines = [",".join(head), *(",".join(("h100", "torch", "1", "k", *map(str, r.key), "100")) for r in rows)]
        found = measured_rows([(f"{file}.csv", "\n".join(lines))], lambda _: device("h100", 8).target)
        assert {reason for reason, count in found.refused.items() if count} <= {"wrong_unit"}
        assert sum(len(cell.measured_s) for cell in found.cells) + found.refused["wrong_unit"] == len(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gem", "--operators gem: no operator 'gem'; did you mean gemm?"),
        ("gemm,moe", "--operators gemm,moe: no operator 'moe'; did you mean memory?"),
        (",", "--operators ',': names none; pick some of gemm, attention, memory, collectives"),
    ],
)
def test_an_unknown_operator_is_refused(text, said):
    with pytest.raises(InputError) as error:
        operators_of(text)
    assert str(error.value).startswith(said.split(";")[0])


def test_attention_is_both_of_its_files():
    assert operators_of("attention") == ("attn_prefill", "attn_decode")
