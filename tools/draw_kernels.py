"""Draw the figures of docs/methods/kernels.md: `docs/figures/kernels-predicted.png` and `kernels-roofline.png`.

    pip install -e '.[docs]'
    python tools/draw_kernels.py --data DIR

The first shows predicted over measured times of rows that no fit saw (whole shapes; points of collectives), at most
300 a GPU and operator. The second shows arithmetic per second over arithmetic per byte of such 16-bit rows on
H100, the datasheet's roofs, and the median of our predictions. Rows are drawn in the order of a hash: always the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from score_kernels import family_of

from llmplan.cli.measured import read_measured
from llmplan.kernel_intervals import fixed_uniform
from llmplan.kernel_library import library_of
from llmplan.kernel_scores import Predicted, errors, predictions
from llmplan.perf.kernels.forms import Target
from llmplan.spec.catalog import Catalog

OUT = Path(__file__).resolve().parents[1] / "docs" / "figures"
MICROSECOND, TERA = 1e-6, 1e12
MOST_POINTS = 300
BAND = 0.25
COLORS = {
    "a100-80-sxm": "#E69F00", "h100-sxm": "#0072B2", "h200-sxm": "#56B4E9", "b200-sxm": "#009E73", "l40s": "#CC79A7",
}  # fmt: skip
"""Okabe and Ito's palette: told apart by people of every color vision."""
MARKERS = {"a100-80-sxm": "o", "h100-sxm": "s", "h200-sxm": "D", "b200-sxm": "^", "l40s": "v"}
PANELS = (
    ("GEMM", ("GEMM, bf16", "GEMM, fp8 and fp8 blocks", "GEMM, nvfp4 and integers")),
    ("prefill attention", ("prefill attention",)),
    ("decode attention", ("decode attention",)),
    ("latent attention (MLA)", ("latent attention, prefill", "latent attention, decode")),
    ("experts (MoE)", ("experts",)),
    ("collectives", ("collectives",)),
)
ROOFLINE = (
    ("GEMM", "gemm", "#0072B2"),
    ("experts (MoE)", "moe", "#CC79A7"),
    ("prefill attention", "attn_prefill", "#009E73"),
    ("decode attention", "attn_decode", "#56B4E9"),
)
GRAY = "#b0b0b0"
LATENCY_S = 20e-6
"""Rows below are mostly latency: they say little of roofs."""
BINS = 14
STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.5, "figure.dpi": 100, "savefig.dpi": 100,
}  # fmt: skip


def left_out(one: Predicted) -> np.ndarray:
    """Return which rows of a cell no fit saw."""
    return np.asarray(one.cell.split == ("group" if one.cell.operator.shape else "point"))


def drawn(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Return the places of at most so many of a number of rows, always the same ones."""
    return np.argsort(fixed_uniform(count, count), kind="stable")[:most]


def draw_predicted(predicted: Sequence[Predicted]) -> Any:
    """Return the figure of predicted over measured times."""
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 7.4), layout="constrained")
    for axis, (title, families) in zip(axes.flat, PANELS, strict=True):
        here = [p for p in predicted if family_of((p.cell.operator.name, p.cell.dtype, p.cell.gpu)) in families]
        measured = np.concatenate([p.cell.measured_s[left_out(p)] for p in here])
        seconds = np.concatenate([p.seconds[left_out(p)] for p in here])
        gpus = np.concatenate([np.full(int(left_out(p).sum()), p.cell.gpu) for p in here])
        shown = np.concatenate([np.flatnonzero(gpus == gpu)[drawn(int((gpus == gpu).sum()))] for gpu in COLORS])
        for place in shown[np.argsort(fixed_uniform(len(shown), len(shown)))].reshape(-1, 1):
            gpu = gpus[place[0]]
            axis.plot(
                measured[place] / MICROSECOND, seconds[place] / MICROSECOND, MARKERS[gpu], color=COLORS[gpu],
                markersize=2.4, markeredgewidth=0, alpha=0.75,
            )  # fmt: skip
        ends = np.array([measured[shown].min() * 0.7, measured[shown].max() * 1.4]) / MICROSECOND
        axis.plot(ends, ends, color="black", linewidth=0.9)
        for off in (1 - BAND, 1 + BAND):
            axis.plot(ends, ends * off, color="black", linewidth=0.7, linestyle=(0, (4, 3)))
        told = errors(seconds, measured)
        axis.set(xscale="log", yscale="log", title=title, xlim=ends, ylim=ends)
        axis.text(
            0.04, 0.95, f"{told.n:,} rows, {len(shown):,} drawn\nMdAPE {told.mdape:.0f} %, P90 {told.p90:.0f} %",
            transform=axis.transAxes, va="top", fontsize=8,
        )  # fmt: skip
    for axis in axes[-1]:
        axis.set_xlabel("measured time (µs)")
    for axis in axes[:, 0]:
        axis.set_ylabel("predicted time (µs)")
    handles = [
        mpl.lines.Line2D([], [], marker=MARKERS[gpu], color=color, linestyle="", markersize=5, label=gpu)
        for gpu, color in COLORS.items()
    ]
    band = mpl.lines.Line2D([], [], color="black", linewidth=0.7, linestyle=(0, (4, 3)), label="±25 %")
    figure.legend(handles=[*handles, band], loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle("Predicted against measured kernel times, rows left out of every fit")
    return figure


def achieved(one: Predicted, target: Target) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return arithmetic per byte, and arithmetic per second as measured and as predicted, of rows of one cell."""
    cell, chip = one.cell, target.chip("bf16")
    arithmetic, traffic = cell.operator.work(cell.columns, cell.target, cell.dtype, cell.kernel)
    flop, moved = arithmetic * chip.flop_per_s, traffic * chip.bytes_per_s
    return flop / moved, flop / cell.measured_s, flop / one.seconds


def draw_roofline(predicted: Sequence[Predicted], gpu: str) -> Any:
    """Return the figure of achieved arithmetic, 16 bit, on one GPU."""
    figure, axes = plt.subplots(2, 2, figsize=(10.5, 7.6), layout="constrained", sharex=True, sharey=True)
    here = [p for p in predicted if (p.cell.gpu, p.cell.dtype) == (gpu, "bfloat16")]
    target = here[0].cell.target
    chip = target.chip("bf16")
    ends = np.geomspace(0.4, 3e4, 300)
    for axis, (label, operator, color) in zip(axes.flat, ROOFLINE, strict=True):
        parts = [p for p in here if p.cell.operator.name == operator and left_out(p).any()]
        rows = np.concatenate([left_out(p) for p in parts])
        sides = [np.concatenate(side)[rows] for side in zip(*(achieved(p, target) for p in parts), strict=True)]
        long = np.concatenate([p.cell.measured_s for p in parts])[rows] >= LATENCY_S
        draw_achieved(axis, sides, long, color)
        axis.plot(ends, np.minimum(ends * chip.bytes_per_s, chip.flop_per_s) / TERA, color="black", linewidth=1.3)
        axis.set(xscale="log", yscale="log", xlim=(0.4, 3e4), ylim=(1e-3, 2.5e3), title=f"{label}, {len(long):,} rows")
    axes[0, 0].text(0.7, 1.1 * chip.bytes_per_s / TERA, f"{chip.bytes_per_s / TERA:.2f} TB/s", rotation=38, va="bottom")
    axes[0, 0].text(2.5e4, 1.15 * chip.flop_per_s / TERA, f"{chip.flop_per_s / TERA:.0f} TFLOP/s", ha="right")
    for axis in axes[-1]:
        axis.set_xlabel("arithmetic intensity (FLOP per byte that must move)")
    for axis in axes[:, 0]:
        axis.set_ylabel("achieved arithmetic (TFLOP/s)")
    shown = [
        mpl.lines.Line2D([], [], color="black", linewidth=1.3, label="datasheet's roofs"),
        mpl.lines.Line2D([], [], marker="o", linestyle="", color="#555555", markersize=4, label="measured row"),
        mpl.lines.Line2D([], [], marker="o", linestyle="", color=GRAY, markersize=4, label="measured, below 20 µs"),
        mpl.lines.Line2D([], [], marker="o", linestyle="", color="white", markeredgecolor="black", markersize=6,
                         label="measured, median"),
        mpl.lines.Line2D([], [], color="#D55E00", linewidth=2, label="predicted, median (band: 10 to 90 %)"),
    ]  # fmt: skip
    figure.legend(handles=shown, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"16-bit kernels on {gpu} under the roofs of its datasheet, rows left out of every fit")
    return figure


def draw_achieved(axis: Any, sides: Sequence[np.ndarray], long: np.ndarray, color: str) -> None:
    """Draw the rows of one operator, and medians of those that are not mostly latency by intensity."""
    intensity, measured, ours = sides
    order = drawn(len(intensity), 3 * MOST_POINTS)
    for at, tint in ((order[~long[order]], GRAY), (order[long[order]], color)):
        axis.plot(intensity[at], measured[at] / TERA, "o", color=tint, markersize=2.2, markeredgewidth=0, alpha=0.6)
    edges = np.geomspace(intensity.min(), intensity.max() * 1.001, BINS + 1)
    held = [at for low, high in pairwise(edges) if (at := (intensity >= low) & (intensity < high) & long).sum() >= 15]
    x = [np.median(intensity[at]) for at in held]
    low, middle, high = np.array([np.percentile(ours[at], [10, 50, 90]) for at in held]).T / TERA
    axis.fill_between(x, low, high, color="#D55E00", alpha=0.18, linewidth=0)
    axis.plot(x, middle, color="#D55E00", linewidth=2)
    axis.plot(
        x, [np.median(measured[at]) / TERA for at in held], "o", color="white", markeredgecolor="black", markersize=5
    )


def main() -> None:
    """Draw both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    asked = parser.parse_args()
    mpl.use("Agg")
    mpl.rcParams.update(STYLE)
    catalog = Catalog()
    predicted = list(predictions(read_measured(asked.data, catalog), library_of(catalog)))
    OUT.mkdir(exist_ok=True)
    figures = {
        "kernels-predicted": draw_predicted(predicted),
        "kernels-roofline": draw_roofline(predicted, "h100-sxm"),
    }
    for name, figure in figures.items():
        path = OUT / f"{name}.png"
        figure.savefig(path, metadata={"Software": None})
        print(f"wrote {path.name}, {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
