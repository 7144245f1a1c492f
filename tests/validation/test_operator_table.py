"""The shipped kernel rows score the shipped fits, from the checkout alone."""

import csv
import gzip
import importlib.util
import sys
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import yaml

from llmplan.spec.fits import Fits

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "gemm": ("n", "k"),
    "attention_prefill": ("heads", "kv_heads", "head_dim"),
    "attention_decode": ("heads", "kv_heads", "head_dim"),
    "mla_prefill": ("heads",),
    "mla_decode": ("heads",),
    "moe": ("hidden", "inter", "topk", "experts"),
}


@cache
def tool():
    spec = importlib.util.spec_from_file_location("score_operators", ROOT / "tools" / "score_operators.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def shipped():
    with gzip.open(ROOT / "validation" / "kernel_test_rows.csv.gz", "rt", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_rows_are_shipped_with_their_origin():
    assert len(shipped()) > 4000
    assert {row["gpu"] for row in shipped()} == set(tool().GPUS)
    for row in shipped():
        assert row["source"]
        assert row["backend"]
        assert row["version"]
        assert row["kernel"]
        assert float(row["measured_s"]) > 0
    assert (ROOT / "validation" / "kernel_test_rows.csv.gz").stat().st_size < 300_000


def test_rows_of_the_group_split_belong_to_it():
    for row in shipped():
        if row["split"] == "group":
            shape = "|".join(row[name] for name in GROUPS[row["op"]])
            assert crc32(f"g{shape}".encode()) % 5 == 0
        else:
            assert row["split"] == "point"


@pytest.mark.parametrize("name", ["generic", "a100-80-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "l40s"])
def test_fits_validate(name):
    found = Fits.model_validate(yaml.safe_load((ROOT / "hardware" / "fits" / f"{name}.yaml").read_text()))
    assert found.gpu == name
    assert {"gemm.bf16", "attention_prefill.bf16", "attention_decode.bf16", "moe.bf16"} <= set(found.operators)
    assert set(found.collectives) == set(tool().COLLECTIVES)
    rows = [fit.evidence.rows for fit in (*found.operators.values(), *found.collectives.values())]
    assert all(count == 0 for count in rows) if name == "generic" else all(rows)


def test_generic_is_the_median_of_the_measured_gpus():
    generic = tool().fits("generic").operators["gemm.bf16"]
    measured = [tool().fits(name).operators["gemm.bf16"].memory_efficiency for name in tool().GPUS]
    assert generic.memory_efficiency == pytest.approx(np.median(measured), rel=1e-3)


def test_every_cell_has_a_fit_and_beats_the_roofline():
    assert len(tool().scored()) > 90
    for part in tool().scored():
        own = tool().pooled([part], "own fit")
        bare = tool().pooled([part], "datasheet")
        assert own["mdape"] < bare["mdape"], part.cell.name


def test_an_error_is_what_it_says():
    found = tool().errors(np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.0, 4.0]))
    assert found["n"] == 3
    assert found["mdape"] == pytest.approx(10)
    assert found["mape"] == pytest.approx(20)
    assert found["wape"] == pytest.approx(100 * 1.1 / 7)
    assert found["bias"] == pytest.approx(0)


def test_table_is_short_and_repeats():
    first = tool().table()
    tool().scored.cache_clear()
    assert tool().table() == first
    lines = first.splitlines()
    assert len(lines) <= 12
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "nan" not in first
