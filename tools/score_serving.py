"""Score steady-state predictions against measured serving runs, and turn the misses into error bands.

    python tools/score_serving.py --data DIR [--catalog DIR]

Reads `closed_loop_agg.csv.gz` and `offline_max.csv.gz` of DIR (column names as in docs/validation.md). Each run is
predicted with the parameters that ship; nothing is fitted here. The same runs are predicted again with knowledge
hidden: with the constants of the other GPU of the architecture (`transferred`), and with the median of the other
GPUs' constants (`datasheet`). With `--write`, aggregates go to `validation/serving.csv` and bands to
`hardware/bands.yaml`; measured rows are never written there.

Closed loop is predicted in steady state. A harness that sends its first requests at once makes the mean TTFT of its
run longer than that: the burst is not modeled.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmplan.errors import LlmplanError
from llmplan.kernel_library import kernels_on, library_of
from llmplan.kernel_scores import errors
from llmplan.perf.attention import causal_pairs
from llmplan.perf.fits import Device, gathered
from llmplan.perf.formats import COMPUTE_TYPE, computes
from llmplan.perf.replica import ReplicaCost, Requests, at_load, most_decodes, operating, replica_cost
from llmplan.perf.roofline import Floats
from llmplan.resolve import device
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import Deployment, KvPolicy, Layout, Stage
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Gpu
from llmplan.spec.model import KvDtype, Model, WeightDtype, Weights
from llmplan.spec.workload import Traffic

ROOT = Path(__file__).resolve().parents[1]
FILES = ("closed_loop_agg.csv.gz", "offline_max.csv.gz")
GRADES = ("gold", "silver")

STEADY_SHARE = 0.977
"""Reported over steady throughput of a closed-loop run: ramp-up and drain (measured, standard deviation .007)."""
LENGTH_SPREAD = {"uniform[0.8L,L]": 0.2**2 / 12 / 0.9**2}
"""Variance over squared mean of prompt and answer lengths; other distributions are fixed."""
BURST_SHARE = 0.1
"""Share of a run's requests that arrive at its start, all at once (InferenceX: 10 requests for each one in flight)."""
STAND_INS = {"atom": "vllm"}
"""Engines without an entry, predicted as another and printed under their own name; no band holds them."""
PLUGINS = {"vllm-gaudi": "vllm"}
"""An engine on devices that it runs by a plugin: a row of its own, and in the band of its device."""
UNKNOWN_HARNESS = frozenset({"aic_silicon_internal"})
"""Sources whose arrivals are not described: their TTFT cannot be predicted."""
STALLED = 50.0
"""p99 over p50 of TTFT beyond which the mean is a one-time stall."""
CAPPED, CAPPED_FROM = 600.0, 256
"""TTFT over TPOT that shows silently capped sequences, from this many requests in flight."""
HIGHEST_MFU = 0.6
"""Share of peak compute that no run reaches: beyond it the row counts something else."""
FEWEST_ROWS = 5
"""Cells of fewer rows are written under `other`: an error of one row would give the row away."""
REACHED = 0.98
"""Share of the requests in flight below which the predicted batch is at its limit."""

METRICS = ("tpot_s", "ttft_s", "ttft_burst_s", "ttft_p50_s", "throughput")
BANDED_BY = {"ttft_s": "ttft_burst_s", "tpot_s": "tpot_s", "throughput": "throughput"}
"""Metric of a band, and the score that it is taken from: TTFT with the harness's own burst counted."""
BANDED: tuple[Basis, ...] = ("calibrated", "transferred", "datasheet")
LOW, HIGH = 0.05, 0.95
AMD = "AMD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured run, resolved: what was served, on what, how, under which load, and what was seen."""

    row: Mapping[str, str]
    model: Model
    gpu: Gpu
    engine: Engine
    layout: Layout
    weight_dtype: WeightDtype
    prompt: float
    output: float
    spread: float
    concurrency: float
    """0: all requests at once (offline)."""
    measured: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One run predicted on one basis."""

    run: Run
    basis: Basis
    hidden: bool
    """Constants of the GPU were hidden to get here."""
    predicted: Mapping[str, float]
    limited: bool
    """The predicted batch stays below the requests in flight."""

    @property
    def group(self) -> str:
        """The unit that weighs one in a band."""
        return f"{self.run.row['family']} @ {self.run.gpu.name}"


class RefusedError(Exception):
    """A row that is not scored; its text is the reason code."""


# Rows ----------------------------------------------------------------------------------------------


def read_rows(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the rows that may be scored: newest run of a configuration, gold or silver, no flag."""
    for name in FILES:
        path = folder / name
        if not path.exists():
            continue
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["latest"] == "True" and row["grade"] in GRADES and not row["flag"]:
                    yield row


def number(row: Mapping[str, str], *names: str) -> float | None:
    """Return the first of the fields that holds a number."""
    for name in names:
        if row.get(name):
            return float(row[name])
    return None


class Shelf:
    """Models, GPUs and engines by the names that measurements use."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def model(self, name: str) -> Model:
        """Return a model of the catalog."""
        try:
            return self.catalog.model(name)
        except LlmplanError:
            raise RefusedError("no_model") from None

    def gpu(self, name: str) -> Gpu:
        """Return a GPU of the catalog."""
        try:
            return self.catalog.gpu(name)
        except LlmplanError:
            raise RefusedError("no_hardware") from None

    def engine(self, name: str) -> Engine:
        """Return an engine of the catalog."""
        try:
            return self.catalog.engine((STAND_INS | PLUGINS).get(name, name))
        except LlmplanError:
            raise RefusedError("no_engine") from None

    def device(self, gpu: Gpu, engine: Engine) -> Device:
        """Return a GPU with its link and the kernels that ship for it."""
        return device(gpu, 0.0, engine, self.catalog)


def resolved(row: Mapping[str, str], shelf: Shelf) -> Run:
    """Return a row as a run that can be predicted.

    Raises
    ------
    RefusedError
        With the reason code.
    """
    gpu, engine = shelf.gpu(row["gpu"]), shelf.engine(row["engine"])
    model = shelf.model(row["model"])
    if "fp8_block" in row["notes"] and model.weights.dtype == "bf16":  # another checkpoint of the same model
        model = model.model_copy(update={"weights": Weights(dtype="fp8", scale_block=(128, 128))})
    prompt, output = number(row, "isl_eff", "isl"), number(row, "osl_eff", "osl")
    if prompt is None or output is None or not row["tp"]:
        raise RefusedError("missing_field")
    weight = _weight_dtype(row["precision"], model, gpu)
    if not computes(gpu.flop_per_s, weight):
        raise RefusedError("no_form")
    run = Run(
        row=row,
        model=model,
        gpu=gpu,
        engine=engine,
        layout=_layout(row),
        weight_dtype=weight,
        prompt=prompt,
        output=output,
        spread=LENGTH_SPREAD.get(row["len_dist"], 0.0),
        concurrency=number(row, "concurrency") or 0.0,
        measured=_measured(row),
    )
    if row["load"] == "closed_loop":
        _refuse_impossible(run)
    if not run.measured:
        raise RefusedError("missing_field")
    return run


def _parsed(row: Mapping[str, str], shelf: Shelf) -> Run:
    try:
        return resolved(row, shelf)
    except (KeyError, ValueError):  # a column is missing, or holds no number
        raise RefusedError("missing_field") from None


def _weight_dtype(precision: str, model: Model, gpu: Gpu) -> WeightDtype:
    if model.weights.dtype == "mxfp4":
        return "mxfp4"
    formats: dict[str, WeightDtype] = {"fp16": "bf16", "bf16": "bf16", "fp8": "fp8"}
    formats["fp4"] = "mxfp4" if gpu.vendor == AMD else "nvfp4"
    if precision not in formats:
        raise RefusedError("no_form")
    return formats[precision]


def _layout(row: Mapping[str, str]) -> Layout:
    """Return the layout; with attention data parallelism every rank of a stage holds all heads."""
    tp, pp, ep = (int(float(row[name] or 1)) for name in ("tp", "pp", "ep"))
    ranks = int(float(row["n_gpus"])) // pp
    try:
        if row["attn_dp"] == "True":
            return Layout(tp=1, dp=ranks, pp=pp, ep=ep)
        if tp * int(float(row["dp"] or 1)) != ranks:
            raise RefusedError("missing_field")
        return Layout(tp=tp, pp=pp, ep=ep)
    except ValueError:
        raise RefusedError("no_form") from None


def _measured(row: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    tpot, ttft, middle = (number(row, name) for name in ("tpot_ms_mean", "ttft_ms_mean", "ttft_ms_p50"))
    rate = number(row, "out_tok_s_per_gpu")
    if tpot:
        found["tpot_s"] = tpot / 1e3
    known = row["source"] not in UNKNOWN_HARNESS
    if ttft and known and not _stalled(row):
        found["ttft_s"] = found["ttft_burst_s"] = ttft / 1e3
    if middle and known:
        found["ttft_p50_s"] = middle / 1e3
    if rate:
        found["throughput"] = rate
    return found


def _stalled(row: Mapping[str, str]) -> bool:
    middle, tail = number(row, "ttft_ms_p50"), number(row, "ttft_ms_p99")
    return bool(middle and tail and tail > STALLED * middle)


def _refuse_impossible(run: Run) -> None:
    tpot, ttft = number(run.row, "tpot_ms_mean"), number(run.row, "ttft_ms_mean")
    if not tpot or not ttft:
        return
    if run.concurrency >= CAPPED_FROM and ttft > CAPPED * tpot:
        raise RefusedError("capped_sequences")
    if run.model.published_parameters and not any(ffn.kind == "moe" for ffn in run.model.ffn.values()):
        rate = run.concurrency / (ttft + tpot * (run.output - 1)) * 1e3
        flop = 2 * run.model.published_parameters * (run.prompt + run.output) * rate
        peak = run.gpu.flop_per_s[COMPUTE_TYPE[run.weight_dtype]]
        if flop > HIGHEST_MFU * peak * run.layout.gpus:
            raise RefusedError("impossible_rate")


# Predictions ---------------------------------------------------------------------------------------


def devices(run: Run, shelf: Shelf) -> list[tuple[Device, bool]]:
    """Return the device of a run as it ships, and with its own rows, and those of its architecture, hidden."""
    shipped = shelf.device(run.gpu, run.engine)
    found = [(shipped, False)]
    if shipped.basis == "calibrated":
        library = library_of(shelf.catalog)
        for hidden in (library.without(run.gpu), library.without(run.gpu, family=True)):
            basis = hidden.basis(run.gpu)
            if basis not in [known.basis for known, _ in found]:
                kernel = kernels_on(run.gpu, run.engine, hidden)
                found.append((replace(shipped, kernel=kernel, basis=basis), True))
    return found


def requests_of(runs: Sequence[Run], reaches: Sequence[float]) -> Requests:
    """Return what each run was asked, as (C, 1) columns."""
    prompt, output, spread = (_column(getattr(r, name) for r in runs) for name in ("prompt", "output", "spread"))
    context = prompt + output * (1 + spread) / 2
    largest = _column(float(r.row["isl"]) + float(r.row["osl"]) for r in runs)
    none = np.zeros_like(prompt)
    return Requests(
        prompt=prompt,
        prompt_square=prompt**2 * (1 + spread),
        cached=none,
        decodes=np.maximum(output - 1, 1e-6),
        decodes_tail=np.maximum(output - 1, 1e-6),
        contexts={reach: np.minimum(context, reach) for reach in reaches},
        reserved=prompt + output,
        largest=largest,
        pairs={reach: causal_pairs(prompt, none, reach) for reach in reaches},
        gap_cv=0.0,
        closed=True,
    )


def _column(values: Iterable[float]) -> Floats:
    return np.array([float(v) for v in values])[:, None]


def predicted(runs: Sequence[Run], shelf: Shelf, kv_dtype: KvDtype | None = None) -> tuple[list[Scored], int]:
    """Return runs of one model and engine on every basis, and how many fit no memory: one call of the model."""
    asked = [(run, known, hidden) for run in runs for known, hidden in devices(run, shelf)]
    engine = runs[0].engine
    replicas = gathered(
        runs[0].model,
        [_deployment(run, kv_dtype or kv_of(run)) for run, _, _ in asked],
        [known for _, known, _ in asked],
        [engine] * len(asked),
        [False] * len(asked),
        Traffic.model_fields["routing_skew"].default,
    )
    cost = replica_cost(replicas)
    metrics, fits, limited = _metrics(cost, [run for run, _, _ in asked])
    found, homeless = [], 0
    for i, (run, known, hidden) in enumerate(asked):
        if not fits[i]:
            homeless += not hidden
            continue
        wanted = [name for name in run.measured if not (limited[i] and name.startswith("ttft"))]
        values = {name: float(metrics[name][i, 0]) for name in wanted}
        found.append(Scored(run=run, basis=known.basis, hidden=hidden, predicted=values, limited=bool(limited[i])))
    return found, homeless


def kv_of(run: Run) -> KvDtype:
    """Return the KV format that was deployed: TensorRT-LLM takes fp8 where NVIDIA's checkpoint asks for it.

    Those are the quantized checkpoints of models that are published in bf16 (`kv_cache_quant_algo` of their
    `hf_quant_config.json`); all other runs have the engines' default.
    """
    asked = run.model.weights.dtype == "bf16" and run.weight_dtype in ("fp8", "nvfp4")
    return "fp8" if asked and run.engine.name == "trtllm" else "bf16"


def _deployment(run: Run, kv_dtype: KvDtype) -> Deployment:
    scheduler = run.engine.scheduler
    stage = Stage.model_construct(gpu=run.gpu.name, layers=None, layout=run.layout, weight_dtype=run.weight_dtype)
    return Deployment.model_construct(
        model=run.model.name,
        engine=run.engine.name,
        stages=(stage,),
        kv_dtype=kv_dtype,
        batching=scheduler.batching(run.gpu.memory_bytes, run.gpu.architecture),
        kv=KvPolicy(block_tokens=scheduler.block_tokens),
        offload=(),
        speculation=None,
    )


def _metrics(cost: ReplicaCost, runs: Sequence[Run]) -> tuple[dict[str, Floats], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the metrics of each run, whether it fits, and whether its batch is at its limit."""
    requests = requests_of(runs, cost.reaches)
    most = most_decodes(cost, requests)
    load = _column(r.concurrency for r in runs)
    closed = at_load(cost, requests, np.maximum(load, 1.0), closed=True)
    full = operating(cost, requests, np.maximum(most, 1e-6))
    offline = load == 0
    gpus = _column(r.layout.gpus for r in runs)
    tokens = requests.decodes + 1
    ttft = closed.ttft_mean_s(requests)
    rate = np.where(offline, full.requests_per_s, STEADY_SHARE * closed.requests_per_s) * tokens / gpus
    burst = ttft + BURST_SHARE * (load - 1) / 2 * closed.lane_service_s
    metrics = {"tpot_s": closed.step_s, "ttft_s": ttft, "ttft_burst_s": burst, "ttft_p50_s": ttft, "throughput": rate}
    limited = ~offline & (closed.concurrency < REACHED * load)
    return metrics, (most > 0)[:, 0], limited[:, 0]


# Scores --------------------------------------------------------------------------------------------


def pairs(parts: Iterable[Scored], metric: str) -> tuple[Floats, Floats, list[str]]:
    """Return measured and predicted values of a metric, and the groups they belong to."""
    mine = [part for part in parts if metric in part.predicted]
    measured = np.array([part.run.measured[metric] for part in mine])
    return measured, np.array([part.predicted[metric] for part in mine]), [part.group for part in mine]


def quantile(values: Floats, groups: Sequence[str], share: float) -> float:
    """Return a quantile of `values` in which every group weighs the same."""
    sizes = Counter(groups)
    order = np.argsort(values, kind="stable")
    weights = np.array([1 / sizes[group] for group in groups])[order]
    position = (np.cumsum(weights) - weights / 2) / weights.sum()
    return float(np.interp(share, position, values[order]))


def summary(parts: Sequence[Scored], metric: str) -> dict[str, float] | None:
    """Return errors of a metric in percent, and measured over predicted (groups weigh the same)."""
    measured, guessed, groups = pairs(parts, metric)
    if not measured.size:
        return None
    ratio = measured / guessed
    spread = {"p05": LOW, "median": 0.5, "p95": HIGH}
    return {
        **asdict(errors(guessed, measured)),
        "groups": len(set(groups)),
        **{name: quantile(ratio, groups, share) for name, share in spread.items()},
    }


KEYS = ("source", "load", "engine", "gpu", "family", "grade", "metric", "basis")
ERRORS = ("mdape", "mape", "p90", "wape", "bias")


def cells(parts: Sequence[Scored]) -> list[dict[str, str]]:
    """Return the lines of `validation/serving.csv`; small cells of a source are pooled."""
    pooled: dict[tuple[str, ...], list[Scored]] = {}
    for part in parts:
        for metric in part.predicted:
            pooled.setdefault(_key(part, metric), []).append(part)
    small = [key for key, members in pooled.items() if len(members) < FEWEST_ROWS]
    for key in small:
        other = (*key[:2], "other", "other", "other", *key[5:])
        pooled.setdefault(other, []).extend(pooled.pop(key))
    lines = []
    for key, members in sorted(pooled.items()):
        own = dict(zip(KEYS, key, strict=True))
        found = summary(members, own["metric"])
        if found is None or found["n"] < FEWEST_ROWS:
            continue
        basis = own.pop("basis")
        numbers = {name: f"{found[name]:.1f}" for name in ERRORS}
        lines.append({**own, "n": str(found["n"]), **numbers, "basis": basis})
    return lines


def _key(part: Scored, metric: str) -> tuple[str, ...]:
    row = part.run.row
    own = (row["source"], row["load"], row["engine"], part.run.gpu.name, row["family"], row["grade"])
    return (*own, metric, part.basis)


def table(parts: Sequence[Scored], by: Callable[[Scored], str]) -> str:
    """Return a Markdown table: a line for each class and metric."""
    heads = [
        "class",
        "metric",
        "n",
        "groups",
        "MdAPE",
        "MAPE",
        "P90",
        "WAPE",
        "bias",
        "measured/predicted p5, p50, p95",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name in sorted({by(part) for part in parts}):
        mine = [part for part in parts if by(part) == name]
        for metric in METRICS:
            found = summary(mine, metric)
            if found is None:
                continue
            errors = [f"{found[key]:.0f}" for key in ("mdape", "mape", "p90", "wape")] + [f"{found['bias']:+.0f}"]
            ratios = ", ".join(f"{found[key]:.2f}" for key in ("p05", "median", "p95"))
            shown = [name, metric, f"{found['n']}", f"{found['groups']}", *errors, ratios]
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def brief(parts: Sequence[Scored], by: Callable[[Scored], str]) -> str:
    """Return a line for each class: MdAPE/P90 and bias (rows) of each metric."""
    names = {"tpot_s": "TPOT", "ttft_s": "TTFT", "ttft_burst_s": "TTFT, burst counted", "throughput": "throughput"}
    lines = [f"| class | {' | '.join(names.values())} |", f"|{'---|' * (1 + len(names))}"]
    for name in sorted({by(part) for part in parts}):
        mine = [part for part in parts if by(part) == name]
        shown = []
        for metric in names:
            found = summary(mine, metric)
            shown.append(
                f"{found['mdape']:.0f}/{found['p90']:.0f} {found['bias']:+.0f} ({found['n']})" if found else "–"
            )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def is_nvidia(part: Scored) -> bool:
    """Return whether a run was on NVIDIA."""
    return part.run.gpu.vendor == "NVIDIA"


def kind(part: Scored) -> str:
    """Return dense or MoE."""
    return "MoE" if any(ffn.kind == "moe" for ffn in part.run.model.ffn.values()) else "dense"


def bands(parts: Sequence[Scored]) -> str:
    """Return `hardware/bands.yaml`."""
    lines = [
        "# Written by tools/score_serving.py: percentiles of measured / predicted; groups weigh the same.",
        "bands:",
    ]
    for basis in BANDED:
        mine = [part for part in parts if part.basis == basis and part.run.row["engine"] not in STAND_INS]
        lines.append(f"  {basis}:")
        for metric, score in BANDED_BY.items():
            found = summary(_weighty(mine, score), score)
            if found is None:
                raise SystemExit(f"no rows for {basis} {metric}")
            source = f"{SOURCES[metric]}, gold and silver, {found['groups']} groups; median {found['median']:.2f}"
            numbers = f"low: {found['p05']:.2f}, high: {found['p95']:.2f}, rows: {found['n']}"
            lines.append(f'    {metric}: {{{numbers}, mdape: {found["mdape"]:.0f}, source: "{source}"}}')
    lines.append("  profile:")
    lines += [f'    {metric}: {{low: 1, high: 1, rows: 0, source: "the user\'s own table"}}' for metric in BANDED_BY]
    lines += [*_architecture_bands(parts)]
    return "\n".join(lines) + "\n"


def _weighty(parts: Sequence[Scored], metric: str) -> list[Scored]:
    """Return the runs of groups with more than a few values of a metric: groups weigh the same, whatever their size."""
    having = [part for part in parts if metric in part.predicted]
    rows = Counter(part.group for part in having)
    return [part for part in having if rows[part.group] >= FEWEST_ROWS]


APART = ("cdna3", "gaudi3")
"""Architectures whose one measured device is so far from the common band that they get their own."""


def _architecture_bands(parts: Sequence[Scored]) -> Iterator[str]:
    """Yield a band of its own for each of `APART`, with the same percentiles, from whatever rows there are."""
    yield "architectures:"
    for architecture in APART:
        mine = [p for p in parts if p.run.gpu.architecture == architecture and p.run.row["engine"] not in STAND_INS]
        if not mine:
            continue
        yield f"  {architecture}:"
        gpus = ", ".join(sorted({p.run.gpu.name for p in mine}))
        for metric, score in BANDED_BY.items():
            found = summary(mine, score)
            if found is not None:
                low, high = min(1.0, found["p05"]), max(1.0, found["p95"])
                source = f"{SOURCES[metric]}, {gpus} only, {found['groups']} groups; median {found['median']:.2f}"
                numbers = f"low: {low:.2f}, high: {high:.2f}, rows: {found['n']}"
                yield f'    {metric}: {{{numbers}, mdape: {found["mdape"]:.0f}, source: "{source}"}}'


CLOSED = "closed-loop runs of InferenceX and of aiconfigurator's silicon samples"
SOURCES = {
    "ttft_s": "means of closed-loop runs of InferenceX, its first burst counted",
    "tpot_s": CLOSED,
    "throughput": "closed-loop runs of InferenceX and offline maxima of TensorRT-LLM's documentation",
}


def scored(folder: Path, shelf: Shelf, kv_dtype: KvDtype | None = None) -> tuple[list[Scored], Counter[str]]:
    """Return every run of a folder on every basis, and how many rows were refused why."""
    refused: Counter[str] = Counter()
    runs: dict[tuple[str, str, str], list[Run]] = {}
    for row in read_rows(folder):
        try:
            run = _parsed(row, shelf)
        except RefusedError as reason:
            refused[f"{reason} ({row['gpu'] if str(reason) == 'no_hardware' else row['model']})"] += 1
            continue
        runs.setdefault((run.model.name, run.model.weights.dtype, run.engine.name), []).append(run)
    parts: list[Scored] = []
    for key in sorted(runs):
        found, homeless = predicted(runs[key], shelf, kv_dtype)
        parts += found
        if homeless:
            refused[f"does_not_fit_memory ({runs[key][0].row['model']})"] += homeless
    return parts, refused


def rows_csv(parts: Sequence[Scored]) -> list[dict[str, str]]:
    """Return one line for each run, basis and metric: for one's own eyes, not to be published."""
    names = ("source", "load", "engine", "family", "precision", "n_gpus", "tp", "pp", "ep", "attn_dp", "isl", "osl")
    return [
        {
            "row_id": part.run.row["row_id"],
            "gpu": part.run.gpu.name,
            **{name: part.run.row[name] for name in (*names, "concurrency", "grade")},
            "basis": part.basis + (" (hidden)" if part.hidden else ""),
            "limited": str(part.limited),
            "metric": metric,
            "measured": f"{part.run.measured[metric]:.6g}",
            "predicted": f"{value:.6g}",
            "error_percent": f"{100 * (value / part.run.measured[metric] - 1):.1f}",
        }
        for part in parts
        for metric, value in part.predicted.items()
    ]


def write_csv(path: Path, lines: Sequence[Mapping[str, str]]) -> None:
    """Write equal dictionaries as a table."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def report(parts: Sequence[Scored], refused: Counter[str]) -> str:
    """Return all tables and the coverage."""
    shipped = [part for part in parts if not part.hidden]
    own = [part for part in shipped if is_nvidia(part)]
    ran = len(shipped)
    reasons = "\n".join(f"- {count} {reason}" for reason, count in sorted(refused.items()))
    everything = ran + sum(refused.values())
    limited = sum(part.limited for part in shipped)
    hopper = [part for part in parts if part.run.gpu.architecture == "hopper"]
    sections = {
        "Brief": brief(own, lambda p: f"{kind(p)}, {p.run.engine.title}, {p.run.row['load'].replace('_', ' ')}"),
        "Hopper alone, by basis": table(hopper, lambda p: p.basis),
        "By basis (NVIDIA)": table([p for p in parts if is_nvidia(p)], lambda p: p.basis),
        "Other vendors (datasheet)": table(
            [p for p in shipped if not is_nvidia(p)], lambda p: f"{p.run.gpu.name} {p.run.row['engine']}"
        ),
        "By source": table(own, lambda p: p.run.row["source"]),
        "By engine": table(own, lambda p: f"{p.run.engine.name} {p.run.row['load']}"),
        "By GPU": table(own, lambda p: f"{p.run.gpu.name} {p.run.row['load']}"),
        "Dense and MoE": table(own, lambda p: f"{kind(p)} {p.run.row['load']}"),
        "By group": table(own, lambda p: f"{p.group} {p.run.row['load']}"),
    }
    text = "\n\n".join(f"### {name}\n\n{body}" for name, body in sections.items())
    coverage = f"Scored {ran} of {everything} rows; {limited} of them at the limit of the predicted batch. Refused:"
    return f"{coverage}\n{reasons}\n\n{text}"


def main() -> None:
    """Score, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of measured runs")
    parser.add_argument("--catalog", action="append", default=[], help="folder searched before the shipped catalog")
    parser.add_argument("--kv", choices=("bf16", "fp8"), help="KV format of every run")
    parser.add_argument("--rows", type=Path, help="write every prediction beside its measurement")
    parser.add_argument("--write", action="store_true", help="write validation/serving.* and hardware/bands.yaml")
    given = parser.parse_args()
    shelf = Shelf(Catalog.with_folders(given.catalog))
    parts, refused = scored(given.data, shelf, given.kv)
    print(report(parts, refused))
    if given.rows:
        write_csv(given.rows, rows_csv(parts))
    if given.write:
        write_csv(ROOT / "validation" / "serving.csv", cells(parts))
        head = "# Serving runs\n\nWritten by tools/score_serving.py; docs/validation.md explains it.\n\n"
        text = f"{head}{report(parts, refused)}\n"
        (ROOT / "validation" / "serving.md").write_text(text, encoding="utf-8")
        (ROOT / "hardware" / "bands.yaml").write_text(bands(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
