"""Predictions by parameters fitted to other rows: what they see, and that rows help."""

from __future__ import annotations

import numpy as np
import pytest

from llmplan.errors import InputError
from llmplan.kernel_library import KernelLibrary
from llmplan.kernel_rows import Measured, measured_rows
from llmplan.kernel_scores import errors
from llmplan.kernel_trials import calibrated, drawn, refitted
from llmplan.perf.kernels.forms import OPERATORS, Target
from llmplan.spec.catalog import Catalog
from llmplan.spec.kernels import KernelEvidence, KernelFit

CATALOG = Catalog()
LINKS = {"h100_sxm": 450e9, "a100_sxm": 300e9}
TYPICAL = {
    "short_s": 7e-6, "rank_s": 2e-6, "short_efficiency": 0.2, "long_s": 3e-5, "long_efficiency": 0.6, "contention": 1.1,
}  # fmt: skip
ODD = {**TYPICAL, "short_s": 4e-5, "long_s": 9e-5, "short_efficiency": 0.03, "long_efficiency": 0.2}


def target(name):
    return Target(gpu=CATALOG.gpu(name), link_bytes_per_s=LINKS[name])


def measured(systems, sizes=40, names=("all_gather",)):
    """Rows that the form made itself, with odd parameters on H100."""
    lines = ["system,backend,version,dtype,ranks,link,bytes,op,time_us"]
    for system in systems:
        for op in names:
            ranks = np.array([2.0, 4.0, 8.0])[np.arange(sizes) % 3]
            size = np.round(np.geomspace(1e3, 1e9, sizes))
            parameters = ODD if system == "h100_sxm" else TYPICAL
            columns = {"ranks": ranks, "bytes": size}
            seconds = OPERATORS[op].predict(columns, target(system), "float16", "nccl", parameters)
            lines += [
                f"{system},nccl,1,float16,{r:.0f},intra_node,{b:.0f},{op},{t * 1e6:.6g}"
                for r, b, t in zip(ranks, size, seconds, strict=True)
            ]
    return measured_rows([("comm.csv", "\n".join(lines) + "\n")], target)


def fits(parameters):
    evidence = KernelEvidence(rows=30, test_rows=1, left_out="points", mdape=1, p90=1, wape=1, bias=0)
    return KernelFit(
        operator="all_gather", dtype="float16", kernel="nccl", library="nccl 1", parameters=parameters,
        evidence=evidence,
    )  # fmt: skip


LIBRARY = KernelLibrary(
    {"a100-80-sxm": [fits(TYPICAL)], "h100-sxm": [fits(ODD)]},
    {"a100-80-sxm": "ampere", "h100-sxm": "hopper"},
)


def silent(_):
    """Hear nothing."""


def left_out(predicted):
    at = predicted.cell.split != "train"
    return errors(predicted.seconds[at], predicted.cell.measured_s[at])


def test_a_few_rows_of_a_hidden_gpu_help_and_more_rows_help_more():
    told = [left_out(next(calibrated(measured(["h100_sxm"]), LIBRARY, rows, 0, silent))).mdape for rows in (1, 4, 20)]
    library = LIBRARY.without(CATALOG.gpu("h100"))
    cell = measured(["h100_sxm"]).cells[0]
    typical = library.find(cell.target.gpu, "all_gather", "float16", "nccl").parameters
    hidden = errors(cell.operator.predict(cell.columns, cell.target, "float16", "nccl", typical), cell.measured_s).mdape
    assert hidden > told[0] > told[1] > told[2]
    assert told[2] < 3


def test_drawn_rows_are_on_the_side_of_the_fit_and_the_rest_is_scored():
    (one,) = calibrated(measured(["h100_sxm"]), LIBRARY, 12, 5, silent)
    assert {side: int((one.cell.split == side).sum()) for side in ("train", "point")} == {"train": 12, "point": 28}
    assert one.basis == "calibrated"


def test_a_seed_decides_which_rows_are_drawn():
    (cell,) = measured(["h100_sxm"]).cells
    assert drawn(cell, 12, 1).tolist() == drawn(cell, 12, 1).tolist()
    assert drawn(cell, 12, 1).tolist() != drawn(cell, 12, 2).tolist()
    assert drawn(cell, 99, 1).tolist() == list(range(40))


def test_a_gpus_own_fits_are_hidden_from_its_calibration():
    """With its own parameters as a prior one row would do; hidden, one row cannot tell six parameters."""
    alone = KernelLibrary({"h100-sxm": [fits(ODD)]}, {"h100-sxm": "hopper"})
    (one,) = calibrated(measured(["h100_sxm"]), alone, 1, 0, silent)
    (kin,) = calibrated(measured(["h100_sxm"]), KernelLibrary({}, {}), 1, 0, silent)
    assert one.seconds == pytest.approx(kin.seconds)
    assert left_out(one).mdape > 10


def test_no_row_to_draw_is_refused():
    with pytest.raises(InputError, match="--calibrate 0: want 1 row or more of each kernel"):
        list(calibrated(measured(["h100_sxm"]), LIBRARY, 0, 0, silent))


def test_half_of_the_rows_by_checksum_predict_the_other_half():
    (one,) = refitted(measured(["h100_sxm"], sizes=60), LIBRARY, "half", silent)
    assert ((one.cell.split == "train") == (one.cell.checksum % 2 == 0)).all()
    assert 15 < (one.cell.split == "point").sum() < 45
    assert left_out(one).mdape < 3


def test_the_other_half_decides_nothing():
    found = measured(["h100_sxm"], sizes=60)
    (cell,) = found.cells
    odd = cell.checksum % 2 == 1
    spoiled = Measured(cells=[type(cell)(**{n: getattr(cell, n) for n in cell.__slots__} | {
        "measured_s": np.where(odd, cell.measured_s * 9, cell.measured_s)
    })])  # fmt: skip
    (first,), (second,) = (refitted(m, LIBRARY, "half", silent) for m in (found, spoiled))
    assert first.seconds == pytest.approx(second.seconds)


def test_a_group_split_leaves_out_points_where_there_are_no_shapes():
    found = measured(["h100_sxm"], sizes=60)
    (one,) = refitted(found, LIBRARY, "group", silent)
    assert ((one.cell.split == "point") == (found.cells[0].split == "point")).all()
    assert (one.basis, left_out(one).mdape < 3) == ("calibrated", True)


def test_too_few_rows_for_a_fit_take_those_of_others():
    heard = []
    (one,) = refitted(measured(["h100_sxm"], sizes=20), LIBRARY, "half", heard.append)
    assert one.basis == "datasheet"
    assert "want 20: fits of others" in heard[0]


def test_a_gpu_left_out_is_predicted_by_the_rows_of_the_others():
    by_gpu = {
        one.cell.gpu: one for one in refitted(measured(list(LINKS), sizes=60), KernelLibrary({}, {}), "gpu", silent)
    }
    assert {one.basis for one in by_gpu.values()} == {"datasheet"}
    cell = by_gpu["h100-sxm"].cell
    typical = cell.operator.predict(cell.columns, cell.target, "float16", "nccl", TYPICAL)
    assert by_gpu["h100-sxm"].seconds == pytest.approx(typical, rel=0.05)
    assert left_out(by_gpu["h100-sxm"]).mdape > 30
