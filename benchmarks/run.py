"""Speed of llmplan itself, by part: what a user waits for, and where it goes.

    python benchmarks/run.py [--json FILE] [--only WORD ...] [--repeats N]

All parts run in one process after each other, so that their ratios mean something on a machine whose speed nobody
knows. Cold parts start a new Python each time and count its start; warm parts run in this process. The time shown is
the best of the repeats: everything else on the machine can only make it longer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from llmplan import units
from llmplan.estimate import estimate_workload
from llmplan.perf.replica import Operating, ReplicaCost, Requests, bounds_of, keeps, largest_load, replica_cost
from llmplan.perf.replica import requests_of as traffic_of
from llmplan.perf.step import step_cost
from llmplan.plan.candidates import Candidate, Question, enumerate_candidates, kinds_of
from llmplan.plan.columns import Column, Limits, task
from llmplan.plan.mix import cheapest_mix
from llmplan.plan.rows import build
from llmplan.recommend import recommend_plan
from llmplan.resolve import as_replicas, device
from llmplan.settle import Options
from llmplan.spec.catalog import Catalog
from llmplan.spec.readers import read_question
from llmplan.spec.workload import OfferFilter, WorkloadFile
from llmplan.spec.yaml_files import read_yaml

ROOT = Path(__file__).parents[1]
CHAT, SPARSE = "examples/chat-llama-70b.yaml", "examples/deepseek-v3.yaml"
MANY_CANDIDATES = 20_000
MIXES = ((8, 1), (64, 4), (256, 16))
"""(columns, buckets) of the mixes that are built and solved."""
LARGER = 10
BATCH = 1_000
"""Calls of a part that is too short to be timed alone."""
PACKAGES = ("numpy", "scipy", "pydantic", "PuLP", "highspy", "typer", "PyYAML", "quantiphy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured part."""

    part: str
    seconds: float
    """Best of the repeats."""
    median_s: float
    repeats: int
    rate_per_s: float | None = None
    """Things done in a second, where the part does many."""
    thing: str = ""
    aim: str = ""
    kept: bool | None = None
    """Whether the aim is kept; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to time, how often, and what would be good."""

    name: str
    run: Callable[[], object]
    repeats: int = 5
    things: float | None = None
    thing: str = ""
    most_s: float | None = None
    least_per_s: float | None = None
    times: int = 1
    """Runs of which one is reported, for parts shorter than the clock."""


def measured(part: Part, repeats: int | None) -> Figure:
    """Return the best and the median time of a part."""
    part.run()
    times = []
    for _ in range(repeats or part.repeats):
        begun = time.perf_counter()
        for _ in range(part.times):
            part.run()
        times.append((time.perf_counter() - begun) / part.times)
    best = min(times)
    rate = part.things / best if part.things else None
    aim, kept = "", None
    if part.most_s is not None:
        aim, kept = f"< {part.most_s:g} s", best < part.most_s
    if part.least_per_s is not None and rate is not None:
        aim, kept = f">= {part.least_per_s:.0e}/s", rate >= part.least_per_s
    return Figure(
        part=part.name,
        seconds=best,
        median_s=float(np.median(times)),
        repeats=len(times),
        rate_per_s=rate,
        thing=part.thing,
        aim=aim,
        kept=kept,
    )


def _started(*words: str) -> Callable[[], object]:
    """Return a run of another Python, from its start to its end."""
    command = [sys.executable, *words]
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("LLMPLAN_")}

    def run() -> object:
        return subprocess.run(command, cwd=ROOT, env=quiet, check=True, capture_output=True)

    return run


def _llmplan(*words: str) -> Callable[[], object]:
    return _started("-m", "llmplan", *words)


def cold_parts() -> Iterator[Part]:
    """Yield what a user waits for at the prompt."""
    yield Part(name="python -c pass", run=_started("-c", "pass"))
    yield Part(name="import llmplan", run=_started("-c", "import llmplan"))
    yield Part(name="llmplan --help", run=_llmplan("--help"), most_s=0.4)
    yield Part(name="estimate cold, 70B", run=_llmplan("estimate", CHAT, "--gpu", "4xh100-sxm", "-q"))
    yield Part(name="estimate cold, DeepSeek-V3", run=_llmplan("estimate", SPARSE, "--gpu", "8xh200-sxm", "-q"))
    yield Part(name="recommend cold, 70B", run=_llmplan("recommend", CHAT, "-q"), most_s=2.0)
    yield Part(name="recommend cold, DeepSeek-V3", run=_llmplan("recommend", SPARSE, "-q"), most_s=2.0)


def warm_parts() -> Iterator[Part]:
    """Yield the same questions in this process, once with a catalog that is read and once with a new one."""
    catalog = Catalog()
    for path, size, label in ((CHAT, "4xh100-sxm", "70B"), (SPARSE, "8xh200-sxm", "DeepSeek-V3")):
        free = read_question(str(ROOT / path)).fleet
        fixed = read_question(str(ROOT / path), [f"deployment.gpu={size}"]).fleet
        yield Part(name=f"estimate warm, {label}", run=lambda f=fixed: estimate_workload(f, catalog))
        yield Part(name=f"recommend warm, {label}", run=lambda f=free: recommend_plan(f, catalog))
        yield Part(
            name=f"recommend warm, {label}, no alternatives",
            run=lambda f=free: recommend_plan(f, catalog, Options(top=0)),
        )


def reading_parts() -> Iterator[Part]:
    """Yield the parts that read text."""
    prices = "".join(path.read_text() for path in sorted((ROOT / "hardware" / "prices").glob("aws.yaml")))
    lines = prices.count("\n")
    yield Part(
        name=f"YAML, {lines} lines of prices of one's own",
        run=lambda: read_yaml(prices, "prices"),
        things=lines,
        thing="lines",
    )
    workload = (ROOT / CHAT).read_text()
    yield Part(name="YAML, a workload", run=lambda: read_yaml(workload, "workload"), times=100)
    yield Part(
        name="units.parse",
        run=lambda: units.parse.__wrapped__("3.35 TB/s", "B/s"),
        times=BATCH,
        things=1,
        thing="quantities",
    )
    yield Part(name="catalog, every offer", run=lambda: Catalog().offers(OfferFilter()))
    yield Part(name="catalog, every entry", run=_every_entry)


def loading_parts() -> Iterator[Part]:
    """Yield what one `recommend` over the whole catalog reads, all imports done; also of a larger catalog."""
    yield Part(name="load for one recommend", run=lambda: _loaded_for_one(Catalog()), most_s=0.15)
    with tempfile.TemporaryDirectory() as folder:
        files = grown(Path(folder), LARGER)
        size = f"{files:,} files"
        yield Part(
            name=f"load for one recommend, {size}",
            run=lambda: _loaded_for_one(Catalog(shipped=Path(folder))),
            most_s=0.15,
        )
        yield Part(
            name=f"load of one GPU's offers, {size}",
            run=lambda: Catalog(shipped=Path(folder)).offers(OfferFilter(gpus=("H100",))),
        )


def grown(folder: Path, times: int) -> int:
    """Write the shipped catalog with every device, link, node, price sheet and model `times` times; count the files."""
    files = 0
    for kind in ("hardware/gpus", "hardware/links", "hardware/nodes", "hardware/prices", "models"):
        (folder / kind).mkdir(parents=True)
        for path in (ROOT / kind).glob("*.yaml"):
            text = path.read_text()
            for copy in range(times):
                mark = f"-copy{copy}" if copy else ""
                own = re.sub(r"^(name|provider|hf_id): (.*)", rf"\1: \2{mark}", text, flags=re.MULTILINE)
                if kind == "hardware/prices":
                    own = re.sub(r"^  ([^ ].*):$", rf"  \1{mark}:", own, flags=re.MULTILINE)
                elif copy:
                    own = re.sub(r"^aliases:.*\n(  - .*\n)*", "aliases: []\n", own, flags=re.MULTILINE)
                (folder / kind / f"{path.stem}{mark}.yaml").write_text(own)
                files += 1
    for kind in ("hardware/fits", "engines"):
        shutil.copytree(ROOT / kind, folder / kind)
    for name in ("bands.yaml", "refused.yaml"):
        shutil.copy(ROOT / "hardware" / name, folder / "hardware")
    return files


def _loaded_for_one(opened: Catalog) -> object:
    opened.model("meta-llama/Llama-3.1-70B")
    engine = opened.engine("vllm")
    offers, _ = opened.cheapest_regions(OfferFilter())
    gpus = [opened.gpu(name) for name in sorted({o.node.gpu for o in offers})]
    return [device(gpu, 1e9, engine, opened) for gpu in gpus]


def _every_entry() -> object:
    catalog = Catalog()
    getters: dict[str, Callable[[str], Any]] = {
        "gpus": catalog.gpu,
        "links": catalog.link,
        "nodes": catalog.node,
        "engines": catalog.engine,
        "models": catalog.model,
        "fits": catalog.fits,
    }
    return [get(name) for kind, get in getters.items() for name in catalog.names(kind)]


def _candidates(catalog: Catalog) -> list[Candidate]:
    """Return every way to serve the 70B example on the whole catalog."""
    offers = catalog.offers(OfferFilter())
    kinds = kinds_of(offers, {o.node.gpu: catalog.gpu(o.node.gpu) for o in offers})
    workload = read_question(str(ROOT / CHAT)).fleet.workloads[0]
    model = catalog.model(str(workload.model))
    question = Question(model=model, engine=catalog.engine("vllm"), wanted=workload.deployment)
    return enumerate_candidates(question, kinds)[0]


def _four_buckets() -> WorkloadFile:
    return WorkloadFile.model_validate(
        {
            "model": "llama-3.1-70b",
            "workload": {
                "input_tokens": {"p50": 800, "p90": 2500, "p99": 6000},
                "output_tokens": 400,
                "rate": "24 requests/s",
            },
            "slo": {"ttft": "2 s p95", "tpot": "50 ms p95"},
        }
    )


def model_parts() -> Iterator[Part]:
    """Yield the performance model: operators to step costs, and steady states by the million."""
    catalog = Catalog()
    model, engine = catalog.model("llama-3.1-70b"), catalog.engine("vllm")
    few = _candidates(catalog)
    many = (few * (MANY_CANDIDATES // len(few) + 1))[:MANY_CANDIDATES]
    yield Part(name=f"columns of {len(few)} candidates", run=lambda: as_replicas(few, model, engine, catalog, 0.0))
    replicas, wide = (as_replicas(group, model, engine, catalog, 0.0) for group in (few, many))
    yield Part(name=f"StepCost, {len(few)} candidates", run=lambda: step_cost(replicas), things=len(few), thing="costs")
    yield Part(
        name=f"StepCost, {len(many):,} candidates",
        run=lambda: step_cost(wide),
        repeats=3,
        things=len(many),
        thing="costs",
    )
    workload = _four_buckets()
    for group, repeats in ((replicas, 5), (wide, 2)):
        cost = replica_cost(group)
        requests = traffic_of(workload.buckets(), cost.reaches, 1.0)
        points = _points(cost, requests, workload)
        yield Part(
            name=f"largest_load, {len(group):,} candidates x {len(workload.buckets())} buckets",
            run=lambda c=cost, q=requests: _loaded(c, q, workload, []),
            repeats=repeats,
            things=points,
            thing="operating points",
            least_per_s=1e6 if group is wide else None,
        )


def _loaded(cost: ReplicaCost, requests: Requests, workload: WorkloadFile, sizes: list[int]) -> object:
    test = keeps(bounds_of([b.slo for b in workload.buckets()]))

    def counting(state: Operating) -> np.ndarray[Any, np.dtype[np.bool_]]:
        sizes.append(state.step_s.size)
        return test(state)

    return largest_load(cost, requests, counting)


def _points(cost: ReplicaCost, requests: Requests, workload: WorkloadFile) -> int:
    """Return how many (candidate, bucket, batch) one search looks at."""
    sizes: list[int] = []
    _loaded(cost, requests, workload, sizes)
    return sum(sizes)


def mix_parts() -> Iterator[Part]:
    """Yield mixes of invented replica types: building the rows, and the whole answer."""
    for columns, buckets in MIXES:
        known, load = _invented(columns, buckets)
        asked = task(known, load, Limits())
        kept = len(asked.columns)
        size = f"{columns} types x {buckets} buckets"
        yield Part(name=f"MILP rows, {size} ({kept} kept)", run=lambda a=asked: build(a), repeats=3)
        yield Part(name=f"cheapest_mix, {size}", run=lambda k=known, w=load: cheapest_mix(k, w), repeats=3)


def _invented(columns: int, buckets: int) -> tuple[list[Column], list[float]]:
    """Return replica types of 1 to 8 GPUs on offers of 8, the same in every run."""
    draw = np.random.default_rng(7)
    known = []
    for c in range(columns):
        gpus = int(2 ** (c % 4))
        speed = draw.lognormal(0.0, 0.5) * gpus ** draw.uniform(0.9, 1.1)
        offer = c // 4
        known.append(
            Column(
                name=f"type{c}",
                gpu=f"gpu{offer}",
                gpus=gpus,
                requests_per_s=tuple(float(x) for x in speed * draw.lognormal(0.0, 0.4, buckets)),
                offer=f"offer{offer}",
                node_gpus=8,
                node_usd_per_hour=10.0 * (1 + offer % 7),
            )
        )
    return known, [float(x) for x in draw.uniform(5.0, 50.0, buckets)]


def _table(figures: Sequence[Figure]) -> str:
    unit = next((f.seconds for f in figures if f.part == "recommend warm, 70B"), None)
    rows = [("part", "best", "median", "ratio", "rate", "aim")]
    for figure in figures:
        rate = f"{figure.rate_per_s:,.0f} {figure.thing}/s" if figure.rate_per_s else ""
        ratio = f"{figure.seconds / unit:.3g}" if unit else ""
        aim = f"{figure.aim} {'kept' if figure.kept else 'MISSED'}" if figure.aim else ""
        rows.append(
            (figure.part, units.brief(figure.seconds, "s"), units.brief(figure.median_s, "s"), ratio, rate, aim)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", "ratio: to a warm recommend of the 70B example"])


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "llmplan": version("llmplan"),
        **{name: version(name) for name in PACKAGES},
    }


def main() -> None:
    """Time every part whose name holds one of the words of --only, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="parts whose name holds one of these")
    parser.add_argument("--repeats", type=int, help="runs of each part, instead of its own number")
    wanted = parser.parse_args()
    figures = []
    for group in (cold_parts, warm_parts, reading_parts, loading_parts, model_parts, mix_parts):
        for part in group():
            if not wanted.only or any(word in part.name for word in wanted.only):
                print(part.name, file=sys.stderr)
                figures.append(measured(part, wanted.repeats))
    print(_table(figures))
    if wanted.json:
        document = {"machine": _machine(), "figures": [asdict(f) for f in figures]}
        Path(wanted.json).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
