"""What a user can do wrong, and the one line that says so: where, what is wrong, what would be right."""

from __future__ import annotations

import copy
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmplan.cli.app import main

BASE = """\
model: llama-3.1-8b
workload:
  input_tokens: 500
  output_tokens: 200
  rate: 12 requests/s
"""
ONE_GPU_NODE = "offers.nodes=[a3-highgpu-1g]"
SHEET = "provider: q\nsnapshot: 2026-10-01\nsource: x\noffers:\n  p5.48xlarge:\n    any: {on_demand: 1 USD/h}\n"
TABLE = "gpu,usd_per_hour,input_tokens,output_tokens,requests_per_s\n"
CLASS = "{input_tokens: 500, output_tokens: 200, rate: 1 requests/s}"
LAUGHS = "\n".join(["a0: &a0 [lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))])
JSON = {"model": "llama-3.1-8b", "workload": {"input_tokens": 500, "output_tokens": 200, "rate": "12 requests/s"}}
CONFIG = json.loads((Path(__file__).parents[2] / "examples" / "local-model" / "config.json").read_text("utf-8"))
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

Files = Mapping[str, str | bytes]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing done wrong."""

    name: str
    says: tuple[str, ...]
    """Words of the message, or of the answer when there is one."""
    files: Files = field(default_factory=dict)
    args: tuple[str, ...] = ("recommend", "w.yaml")
    code: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    plan: Callable[[dict[str, Any]], object] | None = None
    """Changes a plan that llmplan wrote; it is then `p.json`."""
    prepare: Callable[[pytest.MonkeyPatch], object] | None = None
    usage: bool = False
    """Typer says it in its own words."""
    marks: tuple[pytest.MarkDecorator, ...] = ()


def workload(name: str, text: str | bytes, *says: str, **more: Any) -> Case:
    return Case(name=name, files={"w.yaml": text}, says=says, **more)


def changed(name: str, old: str, new: str, *says: str, **more: Any) -> Case:
    assert old in BASE
    return workload(name, BASE.replace(old, new), *says, **more)


def added(name: str, tail: str, *says: str, **more: Any) -> Case:
    return workload(name, BASE + tail, *says, **more)


def options(name: str, args: str, *says: str, **more: Any) -> Case:
    return workload(name, BASE, *says, args=("recommend", "w.yaml", *args.split("|")), **more)


def estimate(name: str, tail: str, *says: str, args: tuple[str, ...] = (), **more: Any) -> Case:
    return workload(name, BASE + tail, *says, args=("estimate", "w.yaml", *args), **more)


def table(name: str, text: str, *says: str, base: str = BASE, args: tuple[str, ...] = (), **more: Any) -> Case:
    every = ("recommend", "w.yaml", "--profile", "p.csv", *args)
    return Case(name=f"table: {name}", files={"w.yaml": base, "p.csv": text}, args=every, says=says, **more)


def edited(name: str, change: Callable[[dict[str, Any]], object], *says: str, args: tuple[str, ...] = ()) -> Case:
    return Case(name=f"plan: {name}", plan=change, args=("estimate", "p.json", *args), says=("p.json", *says))


def config(name: str, document: object, *says: str) -> Case:
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    files = {"w.yaml": BASE.replace("llama-3.1-8b", "./m/config.json"), "m/config.json": text}
    return Case(name=f"config.json: {name}", files=files, says=says)


def without_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    import pulp

    monkeypatch.setitem(sys.modules, "highspy", None)
    monkeypatch.setattr(pulp.PULP_CBC_CMD, "available", lambda _: False)
    monkeypatch.setattr(pulp.COIN_CMD, "available", lambda _: False)


def unreadable(_: pytest.MonkeyPatch) -> None:
    Path("w.yaml").chmod(0)


def read_only_folder(_: pytest.MonkeyPatch) -> None:
    Path("kept").mkdir(mode=0o500)


needs_permissions = (pytest.mark.skipif(ROOT, reason="root may read and write everything"),)

NAMES = [
    changed(
        "model", "llama-3.1-8b", "llama-3.1-8x", "w.yaml:1: model: ", "'llama-3.1-8x'", "did you mean llama-3.1-8b"
    ),
    changed("model far off", "llama-3.1-8b", "zzz", "w.yaml:1: model: no model 'zzz'", "llmplan models list"),
    added("gpu", "offers:\n  gpus: [l40s, h100sxn]\n", "w.yaml:7: offers.gpus[1]: no GPU 'h100sxn'", "mean h100-sxm"),
    options("gpu option", "--gpu|h100sxn", "--gpu h100sxn: ", "no GPU 'h100sxn'", "did you mean h100-sxm"),
    options("gpu option of none", "--gpu|0xh100", "'0xh100' is no GPU", "8xH100"),
    options("gpu option that is YAML", "--gpu|[h100", "'[h100' is no GPU", "8xH100"),
    added("engine", "engine: vlm\n", "w.yaml:6: engine: no engine 'vlm'", "did you mean vllm?"),
    added(
        "provider", "offers:\n  providers: [awss]\n", "w.yaml:7: offers.providers[0]: no provider 'awss'", "mean aws?"
    ),
    added("region", "offers:\n  regions: [us-east-9]\n", "w.yaml:7: offers.regions[0]: ", "did you mean us-east-1"),
    added("node", "offers:\n  nodes: [p5.49xlarge]\n", "w.yaml:7: offers.nodes[0]: ", "did you mean p5.4"),
    added("market", "offers:\n  markets: [spott]\n", "w.yaml:7: offers.markets[0]: 'spott'", "did you mean spot?"),
    added("field", "slos:\n  ttft: 1 s p95\n", "w.yaml:6: slos: no such field; did you mean slo?"),
    added("field within", "slo:\n  tfft: 1 s p95\n", "w.yaml:7: slo.tfft: no such field; did you mean ttft?"),
    changed("field of traffic", "rate:", "rates:", "w.yaml:5: workload.rates: no such field; did you mean rate"),
    added("offer", "deployment:\n  offer: nope\n", "w.yaml:7: deployment.offer: 'nope'", "provider/node/region/market"),
    added(
        "offer without a price",
        "deployment:\n  offer: aws/p5.48xlarge/us-east-1/spot\n",
        "w.yaml:7: deployment.offer: ",
        "has no price; did you mean aws/p5.48xlarge/us-east-1/on_demand?",
    ),
    Case(name="catalog entry", args=("catalog", "show", "h100x"), says=("'h100x'", "did you mean h100-sxm")),
    Case(
        name="family of gpus",
        args=("catalog", "list", "gpus", "--family", "llama"),
        says=("--family llama:", "leave it"),
    ),
    Case(
        name="family that nobody runs",
        args=("catalog", "list", "support", "--family", "glm-dso"),
        says=("--family glm-dso: no engine runs it", "did you mean glm-dsa"),
    ),
    Case(
        name="gpu of links", args=("catalog", "list", "links", "--gpu", "h100"), says=("--gpu h100: links", "leave it")
    ),
    Case(name="shown model", args=("models", "show", "llama-3.1-8x"), says=("'llama-3.1-8x'", "did you mean")),
    Case(name="schema", args=("schema", "wokload"), says=("wokload: no such kind", "did you mean workload?")),
    Case(name="schema far off", args=("schema", "zz"), says=("zz: no such kind; want ", "plan, prices")),
    workload(
        "schema without kind", BASE, "no kind; want llmplan schema workload", args=("schema", "--check", "w.yaml")
    ),
    Case(
        name="one file of two is wrong",
        files={"w.yaml": BASE, "x.yaml": "x: 1\n"},
        args=("schema", "workload", "--check", "w.yaml", "--check", "x.yaml"),
        says=("x.yaml:1: x: no such field",),
    ),
]

NUMBERS = [
    changed("no model", "model: llama-3.1-8b\n", "", "w.yaml: model: missing", "llmplan models list"),
    workload("no workload", "model: llama-3.1-8b\n", "w.yaml: workload: missing"),
    workload(
        "workload of nothing", "model: llama-3.1-8b\nworkload:\n", "w.yaml:2: workload: nothing", "keys and values"
    ),
    changed("no input", "  input_tokens: 500\n", "", "w.yaml:2: workload: input_tokens missing", "2000 and 400"),
    changed("no load", "  rate: 12 requests/s\n", "", "w.yaml:2: workload: no load; give one of rate, concurrency"),
    *(
        changed(
            f"input of {value}",
            "input_tokens: 500",
            f"input_tokens: {value}",
            f"w.yaml:3: workload.input_tokens: {shown} is not a token count; want an integer of 1 or more",
        )
        for value, shown in [("-5", "-5"), ("0", "0"), ("2.5", "2.5"), ("true", "True"), ("lots", "'lots'")]
    ),
    changed("output of 0", "output_tokens: 200", "output_tokens: 0", "w.yaml:4: workload.output_tokens: 0 is not"),
    changed("huge input", "500", "1" + "0" * 30, "w.yaml:3: workload.input_tokens: more than 1,000,000,000 tokens"),
    changed("huge tail", "500", "{p50: 1, p90: 1e300, p99: 1e308}", "w.yaml:3: workload.input_tokens: more than"),
    changed("input list", "500", "[1, 2]", "w.yaml:3: workload.input_tokens: [1, 2]", "want keys and values"),
    changed("falling percentiles", "500", "{p50: 5, p90: 4, p99: 9}", "w.yaml:3: ", "p50 5, p90 4, p99 9 do not rise"),
    changed("one percentile", "500", "{p50: 5}", "w.yaml:3: ", "give one token count, or p50, p90 and p99"),
    changed("half a histogram row", "500", "{histogram: [[5]]}", "w.yaml:3: ", "histogram[0][1]: missing"),
    changed("empty histogram", "500", "{histogram: []}", "w.yaml:3: ", "the histogram has no weight"),
    changed("bare rate", "12 requests/s", "24", "w.yaml:5: workload.rate: 24 has no unit; write it as '24 requests/s'"),
    changed("rate in tokens", "12 requests/s", "24 tokens/s", "w.yaml:5: ", "is in tokens/s, but requests/s is wanted"),
    changed(
        "rate in request/s", "12 requests/s", "24 request/s", "w.yaml:5: ", "no unit that llmplan knows; requests/s"
    ),
    changed(
        "negative rate", "12 requests/s", "-24 requests/s", "w.yaml:5: workload.rate: '-24 requests/s' is negative"
    ),
    changed("no rate at all", "12 requests/s", "0 requests/s", "w.yaml:2: workload: rate: 0 requests/s is no load"),
    changed("huge rate", "12 requests/s", "1e30 requests/s", "w.yaml:5: workload.rate: 1e+30 is out of range; want"),
    changed("rate list", "12 requests/s", "[1 requests/s]", "w.yaml:5: workload.rate: ", "'24 requests/s'"),
    changed(
        "concurrency of 0", "rate: 12 requests/s", "concurrency: 0", "w.yaml:5: workload.concurrency: 0", "1 or more"
    ),
    changed("half a request", "rate: 12 requests/s", "concurrency: 2.5", "w.yaml:5: ", "2.5", "want a whole number"),
    changed(
        "users without pace", "rate: 12 requests/s", "users: {active: 5}", "w.yaml:5: ", "per_user_minute: missing"
    ),
    added("rate and concurrency", "  concurrency: 5\n", "w.yaml:2: workload: rate and concurrency exclude each other"),
    added("process", "  arrivals: {process: possion}\n", "w.yaml:6: workload.arrivals.process: ", "mean poisson?"),
    added("cv of poisson", "  arrivals: {cv: 2}\n", "w.yaml:6: workload.arrivals: ", "use process: gamma"),
    added("endless cv", "  arrivals: {process: gamma, cv: inf}\n", "w.yaml:6: workload.arrivals.cv: 'inf'", "number"),
    added("wild cv", "  arrivals: {process: gamma, cv: 1e9}\n", "w.yaml:6: workload.arrivals.cv: 1e+09", "100 or less"),
    added("hit rate", "  prefix: {hit_rate: 1.5}\n", "w.yaml:6: workload.prefix.hit_rate: 1.5", "want 1 or less"),
]

CLASSES = [
    workload(
        "classes beside lengths",
        f"model: llama-3.1-8b\nworkload:\n  input_tokens: 5\n  classes: [{CLASS}]\n",
        "w.yaml:2: workload: input_tokens and output_tokens come from classes",
    ),
    workload(
        "second class",
        f"model: llama-3.1-8b\nworkload:\n  classes:\n  - {CLASS}\n  - {CLASS.replace('500', '-500')}\n",
        "w.yaml:5: workload.classes[1].input_tokens: -500 is not a token count",
    ),
    workload(
        "classes of one name",
        f"model: llama-3.1-8b\nworkload:\n  classes:\n  - {CLASS}\n  - {{name: class1, {CLASS[1:]}\n",
        "w.yaml:3: workload.classes: two classes are called 'class1'",
    ),
    workload(
        "classes without load",
        f"model: llama-3.1-8b\nworkload:\n  classes:\n  - {CLASS.replace('1 requests', '0 requests')}\n",
        "w.yaml:3: workload.classes: no class has any load",
    ),
]

BOUNDS = [
    added(f"ttft {value}", f"slo:\n  ttft: {value}\n", "w.yaml:7: slo.ttft", *says)
    for value, *says in [
        ("800 ms", "'800 ms' is not a bound on a percentile; write it as '800 ms p95'"),
        ("800 ms p100", "'800 ms p100' is not a bound on a percentile"),
        ("800 ms p0", "0.0 is out of range; want more than 0"),
        ("0 ms p95", "leaves no time; write it as '800 ms p95'"),
        ("-5 ms p95", "'-5 ms' is negative"),
        ("800 MB p95", "is in B, but s is wanted here"),
        ("800", "800 has no unit and no percentile; write it as '800 ms p95'"),
        ("[800 ms p95]", "['800 ms p95'] does not fit; want keys and values"),
        ("{bound_s: 1 s}", "slo.ttft.percentile: missing"),
    ]
] + [added("slo in words", "slo: 800 ms p95\n", "w.yaml:6: slo: '800 ms p95'", "want keys and values")]

FILES = [
    Case(name="no file", files={"v.yaml": BASE}, says=("w.yaml: no such file", "did you mean v.yaml?")),
    Case(name="no default file", args=("recommend",), says=("llmplan.yaml: no such file", "llmplan schema workload")),
    Case(name="no folder", args=("recommend", "no/w.yaml"), says=("no/w.yaml: no such file; its folder",)),
    Case(name="folder", files={"d/x": ""}, args=("recommend", "d"), says=("d: is a folder; want a file",)),
    Case(name="long name", args=("recommend", "a" * 300), says=("aaa: cannot be read",)),
    workload("no permission", BASE, "w.yaml: cannot be read", prepare=unreadable, marks=needs_permissions),
    workload("binary", b"\x00\x01\x02", "w.yaml: is no text; want YAML, JSON or CSV"),
    workload("latin-1", b"model: \xe9", "w.yaml: is no UTF-8 text (byte 7)"),
    workload("utf-16", BASE.encode("utf-16"), "w.yaml: is no UTF-8 text (byte 0)"),
    Case(
        name="no gzip",
        files={"w.yaml.gz": "plain"},
        args=("recommend", "w.yaml.gz"),
        says=("w.yaml.gz: cannot be read (Not a gzipped file",),
    ),
    workload("empty", "", "w.yaml: holds nothing; want keys and values"),
    workload("list", "- a\n- b\n", "w.yaml: holds a list; want keys and values"),
    workload("text", "hello\n", "w.yaml: holds plain text; want keys and values"),
    workload("nine megabytes", "#" * (9 * 2**20) + "\n" + BASE, "w.yaml: more than 8 MiB"),
    workload("deep", "model: " + "[" * 100 + "]" * 100, "w.yaml:1: nested deeper than 40 levels"),
    workload("billion laughs", LAUGHS, "w.yaml:1: anchors and aliases are not read; write the value out"),
    added("key twice", "model: x\n", "w.yaml:6: key 'model' is here twice; keep one"),
    added("key twice within", "  rate: 3 requests/s\n", "w.yaml:6: key 'rate' is here twice"),
    added("tab", "slo:\n\tttft: 1 s p95\n", "w.yaml:7: not valid YAML: ", "a tab", "indent with spaces"),
    added("open brace", "slo: {ttft: 1 s p95\n", "w.yaml:7: not valid YAML: "),
    added("two documents", f"---\n{BASE}", "w.yaml:6: not valid YAML: ", "single document"),
    added("key that is a number", "5: 3\n", "w.yaml", "5 is no key; a key must be text"),
    workload(
        "tag", "model: !!python/object:os.system x\n", "w.yaml:1: an explicit tag is not read; write the plain value"
    ),
    changed("control characters", "llama-3.1-8b", '"\\e[31mred\\nline"', "w.yaml:1: model: no model "),
    Case(name="stdin of nothing", args=("recommend", "-"), stdin=b" ", says=("standard input: holds nothing",)),
    Case(name="stdin no YAML", args=("recommend", "-"), stdin=b"a: [", says=("standard input", "not valid YAML")),
    workload("json", json.dumps(JSON), "Cheapest plan for llama-3.1-8b", code=0),
    workload("byte order mark", b"\xef\xbb\xbf" + BASE.encode(), "Cheapest plan for llama-3.1-8b", code=0),
]

OPTIONS = [
    options("melange without table", "--method|melange", "--method melange: solves a measured table", "--profile"),
    options("slices without melange", "--slice-factor|4", "--slice-factor: belongs to --method melange"),
    options("unknown method", "--method|melang", "--method: 'melang' is not known here; did you mean melange?"),
    options("unknown format", "--format|xml", "--format: 'xml' is not known here; pick one of csv, json"),
    options("unknown option", "--gpus|h100", "--gpus: no such option; did you mean --gpu"),
    options("top of nothing", "--top|-1", "--top -1: want 0 or more"),
    Case(name="unknown command", args=("recomend",), says=("recomend: no such command; did you mean recommend?",)),
    Case(name="odd command", args=("xyz",), says=("xyz: no such command; llmplan -h shows what there is",)),
    Case(name="missing argument", args=("prices", "import"), says=("FILE: missing; llmplan prices import -h",)),
    Case(name="argument too many", args=("estimate", "a", "b"), says=("llmplan estimate: got unexpected extra arg",)),
    Case(name="odd argument", args=("catalog", "list", "blah"), says=("kind: 'blah' is not known here; pick one",)),
    Case(name="option without value", args=("prices", "list", "--gpu"), says=("--gpu: has no value",)),
    Case(name="no command", args=(), usage=True, says=()),
    options("gap -1%", "--gap=-1%", "--gap -1%: is out of range; want 0% or more and less than 100%"),
    options("gap abc", "--gap|abc", "--gap abc: is no share; write it as 0.5%"),
    options("gap nan", "--gap|nan", "--gap nan: is out of range"),
    options(
        "time limit without unit", "--time-limit|5", "--time-limit: '5' is not a quantity in s; write it as '30 s'"
    ),
    options("time limit of 0", "--time-limit|0 s", "--time-limit: 0 leaves no time; write it as '30 s'"),
    options("no catalog", "--catalog|nope", "--catalog nope: no such folder"),
    options("set without =", "--set|slo.ttft", "--set slo.ttft: want PATH=VALUE such as slo.ttft='500 ms p95'"),
    options("set unknown", "--set|sla.ttft=1 s p95", "--set sla.ttft=1 s p95: no field 'sla'; did you mean slo.ttft?"),
    options("set unknown within", "--set|slo.tfft=1 s p95", "--set slo.tfft=1 s p95: slo.tfft: no such field", "ttft?"),
    options("set through a value", "--set|model.x=5", "--set model.x=5: there is nothing at 'model.x' to set"),
    options("set a bare rate", "--set|workload.rate=24", "--set workload.rate=24: ", "write it as '24 requests/s'"),
    options("set no YAML", "--set|slo.ttft=[1", "--set slo.ttft=[1: not valid YAML"),
    options("set beside the file", "--set|workload.concurrency=4", "w.yaml:2: ", "(with --set workload.concurrency=4)"),
    options("set an unknown model", "--set|model=llama-3.1-8x", "--set model=llama-3.1-8x: ", "mean llama-3.1-8b"),
    options("variable", "-q", "LLMPLAN_SLA__TTFT: no field 'sla'", "slo.ttft", env={"LLMPLAN_SLA__TTFT": "1 s p95"}),
    options("variable within", "-q", "LLMPLAN_SLO__TFFT: slo.tfft: ", "ttft?", env={"LLMPLAN_SLO__TFFT": "1 s p95"}),
    options("variable of a folder", "-q", "LLMPLAN_CATALOG: /nope: no such folder", env={"LLMPLAN_CATALOG": "/nope"}),
    options("no solver", "-q", "install highspy", prepare=without_solver),
    *(
        Case(
            name=f"output to {name}",
            files={"w.yaml": BASE, "kept.yaml": "as it was", "d.yaml/x": ""},
            args=("recommend", "w.yaml", "-o", name),
            says=(f"--output {name}: ", said),
            **more,
        )
        for name, said, more in [
            ("kept.yaml", "exists; give another name or --overwrite", {}),
            ("w.yaml", "exists; give another name or --overwrite", {}),
            ("o.xml", "unknown suffix '.xml'; want one of .yaml", {}),
            ("o", "unknown suffix ''; want one of .yaml", {}),
            ("no/o.yaml", "no folder 'no'; make it first", {}),
            ("d.yaml", "is a folder; want a file", {}),
            ("w.yaml/o.yaml", "cannot be written (Not a directory)", {}),
            ("a" * 300 + ".yaml", "cannot be written (File name too long)", {}),
            ("kept/o.yaml", "the folder cannot be written", {"prepare": read_only_folder, "marks": needs_permissions}),
        ]
    ),
]

TABLES = [
    table("no column", "gpu,usd_per_hour,input_tokens\na,1,500\n", "p.csv: no column 'output_tokens'; want gpu, usd"),
    table("empty", "", "p.csv: no column 'gpu'; want gpu, usd_per_hour"),
    table("no rows", TABLE, "p.csv: holds no rows; want gpu"),
    table("negative", TABLE + "a,1,500,200,-5\n", "p.csv:2: requests_per_s: -5 is out of range; want 0 or more"),
    table("text", "# by hand\n\n" + TABLE + "a,1,500,200,fast\n", "p.csv:4: requests_per_s: 'fast' is no number"),
    table("no tokens", TABLE + "a,1,0,200,5\n", "p.csv:2: input_tokens: 0 is out of range; want 1 or more"),
    table("short row", TABLE + "\na,1,500\n", "p.csv:3: output_tokens: '' is no number"),
    table("long row", TABLE + "a,1,500,200,5,6\n", "p.csv:2: has more cells than the header"),
    table("no GPU", TABLE + ",1,500,200,5\n", "p.csv:2: gpu: missing"),
    table("cell twice", TABLE + "a,1,500,200,5\na,1,500,200,6\n", "p.csv:3: a has two rows for 500 in, 200 out"),
    table("two prices", TABLE + "a,1,500,200,5\na,2,500,300,5\n", "p.csv:3: usd_per_hour: a has several prices (1, 2)"),
    table("open quote", TABLE + '"a,1,500,200,5\n', "p.csv", "is no CSV"),
    table("kind", "# kind: phase_times\n" + TABLE + "a,1,500,200,5\n", "kind 'phase_times'", "want replica_throughput"),
    table("class", TABLE + "a,1,400,200,5\n", "w.yaml: workload: the table has no cell 500 in, 200 out", "400 in"),
    table("GPU", TABLE + "a,1,500,200,5\n", "offers.gpus: the table has no 'b'; it has a", args=("--gpu", "b")),
    table(
        "lossy", TABLE + "a,1,500,200,5\n", "--allow-lossy: a measured table has its formats", args=("--allow-lossy",)
    ),
    table("periods", TABLE + "a,1,500,200,5\n", "periods: ", base=BASE + "periods: [{hours: 16, rate_factor: 1}]\n"),
    table("layout", TABLE + "a,1,500,200,5\n", "deployment: the measured table", base=BASE + "deployment: {tp: 2}\n"),
    table("region", TABLE + "a,1,500,200,5\n", "offers.regions: ", base=BASE + "offers: {regions: [us-east-1]}\n"),
    table(
        "slices under a limit",
        TABLE + "a,1,500,200,5\n",
        "w.yaml:6: limits: the published slice form has none",
        base=BASE + "limits: {gpus: 1}\n",
        args=("--method", "melange"),
    ),
    Case(
        name="table: no file",
        files={"w.yaml": BASE, "p.csv": TABLE},
        args=("recommend", "w.yaml", "--profile", "q.csv"),
        says=("q.csv: no such file; did you mean p.csv?",),
    ),
]

PLANS = [
    edited("another version", lambda d: d.update(schema_version=2), ":2: schema_version 2 is not read", "want 1"),
    edited("no version", lambda d: d.pop("schema_version"), "schema_version None is not read"),
    edited("set", lambda _: None, "--set slo.ttft=1 s p95 changes a workload", args=("--set", "slo.ttft=1 s p95")),
    edited("gpu option", lambda _: None, "--gpu h100 changes a workload, and this is a plan", args=("--gpu", "h100")),
    edited("no plan", lambda d: d.update(plan=None, status="infeasible"), "holds the answer 'infeasible' and no plan"),
    edited("no provenance", lambda d: d.pop("provenance"), "provenance: missing"),
    edited("unknown key", lambda d: d.update(plans=1), "plans: no such field; did you mean plan"),
    edited("no pools key", lambda d: d["plan"].pop("pools"), "plan.pools: missing"),
    edited("no pools", lambda d: d["plan"].update(pools=[]), "plan.pools: is empty"),
    edited("no models", lambda d: d["plan"].update(models={}), "'llama-3.1-8b' is not in plan.models"),
    edited("no deployment", lambda d: d["plan"]["pools"][0].pop("deployment"), "plan.pools[0].deployment: missing"),
    edited("no load", lambda d: d["plan"]["buckets"][0].update(requests_per_s=None), "plan.buckets[0]: has no load"),
    edited(
        "offer", lambda d: d["plan"]["pools"][0].update(offer="x"), "plan.pools[0].offer: 'x' is not in plan.offers"
    ),
    edited("pool", lambda d: d["plan"]["shares"][0].update(pool="x"), "plan.shares[0].pool: 'x' is not in plan.pools"),
    edited("share of 2", lambda d: d["plan"]["shares"][0].update(share=2), "plan.shares[0].share: 2 is out of range"),
    edited("half a share", lambda d: d["plan"]["shares"][0].update(share=0.5), "plan.shares: ", "0.5 times; want once"),
    edited("pool twice", lambda d: d["plan"]["pools"].append(d["plan"]["pools"][0]), "plan.pools[1].name", "twice"),
    edited(
        "too many replicas", lambda d: d["plan"]["pools"][0].update(count=99), "plan.rentals: ", "its pools need 99"
    ),
    edited("GPUs", lambda d: d["plan"]["pools"][0].update(gpus=3), "plan.pools[0].gpus: 3 is not the 1 GPUs"),
    edited(
        "GPU that the catalog lacks",
        lambda d: (
            d["plan"]["pools"][0].update(gpu="l40x"),
            d["plan"]["pools"][0]["deployment"]["stages"][0].update(gpu="l40x"),
        ),
        "plan.pools[0]: no GPU 'l40x' in the catalog; did you mean",
    ),
    edited(
        "format that the GPU lacks",
        lambda d: d["plan"]["pools"][0]["deployment"]["stages"][0].update(weight_dtype="nvfp4"),
        "plan.pools[0]: l40s: vLLM 0.24.0 does not run nvfp4 weights on ada",
    ),
]

CONFIGS = [
    config("no JSON", "{x: 1", "m/config.json:1: is no JSON; want the model's config.json"),
    config("list", [1, 2], "m/config.json: ", "give a JSON object"),
    config(
        "attention", {**CONFIG, "model_type": "foo_attention"}, "unknown attention kind 'foo_attention'", "not guess"
    ),
    config("no size", {k: v for k, v in CONFIG.items() if k != "hidden_size"}, "m/config.json: hidden_size: missing"),
    config("negative size", {**CONFIG, "hidden_size": -5}, "m/config.json: hidden_size: -5 is no count"),
    config("endless number", '{"hidden_size": ' + "9" * 5000 + "}", "m/config.json: is no JSON"),
    config("deep", "[" * 100_000, "m/config.json: is no JSON"),
    changed("no config.json", "llama-3.1-8b", "./none/config.json", "none/config.json: no such file; its folder"),
    Case(
        name="config.json: no file",
        files={"w.yaml": BASE, "q.csv": ""},
        args=("models", "import", "nofile"),
        says=("nofile: no such file; give a model's config.json, or the folder that holds it",),
    ),
    Case(
        name="config.json: folder without one",
        files={"m/w.yaml": BASE},
        args=("models", "import", "m"),
        says=("m/config.json: no such file; give a model's config.json, or",),
    ),
    changed("model of a long name", "llama-3.1-8b", "a" * 300, "aaa: is no path (File name too long)"),
    changed("model of nobody's home", "llama-3.1-8b", "~nobody-here/x.json", "~nobody-here/x.json: is no path"),
]

NOT_YET = [
    workload(
        "several workloads",
        f"workloads:\n- {json.dumps(JSON)}\n- {json.dumps(JSON)}\n",
        "w.yaml:1: workloads: several workloads are not planned together yet; give one at a time",
    ),
    workload("workloads by path", "workloads:\n- chat.yaml\n", "w.yaml:2: workloads[0]: 'chat.yaml' does not fit"),
    added("periods", "periods:\n- {hours: 16, rate_factor: 1}\n", "w.yaml:6: periods: not planned yet", "busiest"),
    added("faults", "faults:\n- {lose: replica}\n", "w.yaml:6: faults: not planned yet; leave them out"),
    added("adapters", "  adapters: {count: 3, rank: 8}\n", "w.yaml:6: workload.adapters: not modeled yet"),
    added("prefix groups", "  prefix: {groups: 40, tokens: 600}\n", "w.yaml:6: workload.prefix: ", "give hit_rate"),
    workload("trace", "model: llama-3.1-8b\nworkload: {trace: a.csv}\n", "w.yaml:2: workload.trace: not replayed yet"),
    added("techniques", "techniques: [chunked-prefill]\n", "w.yaml:6: techniques: none is applied yet"),
    added("goal", "goals: [configurations]\n", "w.yaml:6: goals: cost comes first in this version"),
    added("goals of nothing", "goals: []\n", "w.yaml:6: goals: ", "want [cost] or [cost, configurations]"),
    added("spot share", "limits: {spot_share: 0.5}\n", "w.yaml:6: limits.spot_share: not planned yet"),
    added("replicas", "deployment: {replicas: 3}\n", "w.yaml:6: deployment.replicas: recommend finds the count"),
]

DEPLOYMENTS = [
    estimate("no GPU", "", "w.yaml: deployment.gpu: missing; estimate wants a fixed deployment such as {gpu: 4xh100"),
    estimate(
        "tp 3", "deployment: {gpu: h100, tp: 3}\n", "w.yaml: deployment: llama-3.1-8b cannot be cut as tp3", "2, 4"
    ),
    estimate("3 GPUs", "", "its 32 heads do not divide by tp 3; want tp x dp of 1, 2, 4, 8", args=("--gpu", "3xh100")),
    estimate("16 GPUs", "", "cannot be cut as tp16 pp1 dp1 ep1: tp x dp is 16; want", args=("--gpu", "16xh100")),
    estimate("64 stages", "deployment: {gpu: h100, pp: 64}\n", "pp is 64; want pp of 1, 2, 4, 8"),
    estimate("8 of a node of 1", "", "its nodes have 1 GPUs", args=("--gpu", "8xh100", "--set", ONE_GPU_NODE)),
    estimate(
        "no price", "", "no offer rents rtx-4090; add a price (llmplan prices import)", args=("--gpu", "rtx-4090")
    ),
    estimate(
        "undated price",
        "",
        "deployment.gpu: no offer of a known day has gpu mi325x, ",
        "; vultr has 1 of an unknown day",
        "which counts when named: offers.providers: [vultr]",
        args=("--gpu", "8xmi325x"),
    ),
    *(
        estimate(gpu, "", "vLLM", f"does not run on {architecture}", args=("--gpu", f"8x{gpu}"))
        for gpu, architecture in (("gaudi3", "gaudi3"), ("rubin", "rubin"))
    ),
    Case(
        name="node of a sheet",
        files={"own/hardware/prices/q.yaml": SHEET.replace("p5.48xlarge", "nope-node")},
        args=("prices", "list", "--catalog", "own"),
        says=("own/hardware/prices/q.yaml:5: offers.nope-node: no node 'nope-node' in the catalog",),
    ),
    Case(
        name="GPU of a node",
        files={
            "own/hardware/prices/q.yaml": SHEET.replace("p5.48xlarge", "box"),
            "own/hardware/nodes/box.yaml": "name: box\nprovider: q\ngpu: h100x\ngpus: 8\nsources: {}\n",
        },
        args=("prices", "list", "--catalog", "own"),
        says=("own/hardware/nodes/box.yaml:3: gpu: no GPU 'h100x' in the catalog; did you mean",),
    ),
    Case(
        name="field of a GPU of one's own",
        files={"own/hardware/gpus/x.yaml": "name: x\nmemory: 80 GiB\n"},
        args=("catalog", "show", "x", "--catalog", "own"),
        says=("own/hardware/gpus/x.yaml:2: memory: no such field",),
    ),
    added("0xh100", "deployment: {gpu: 0xh100}\n", "w.yaml:6: deployment.gpu: '0xh100' is no GPU", "8xH100"),
    added("2x8xh100", "deployment: {gpu: 2x8xh100}\n", "w.yaml:6: deployment.gpu: '2x8xh100' is no GPU", "8xH100"),
    *(
        Case(
            name=f"4 GPUs for tp 8 ({command})",
            files={"w.yaml": BASE + "deployment: {gpu: 4xh100-sxm, tp: 8}\n"},
            args=(command, "w.yaml"),
            says=("w.yaml:6: deployment: tp 8 takes 8 GPUs or a multiple of it, but gpu says 4",),
        )
        for command in ("recommend", "estimate")
    ),
    added("fp7", "deployment: {weight_dtype: fp7}\n", "w.yaml:6: deployment.weight_dtype: 'fp7'", "did you mean fp8?"),
    added("tp 0", "deployment: {tp: 0}\n", "w.yaml:6: deployment.tp: 0 is out of range; want 1 or more"),
    estimate(
        "nvfp4 on l4", "deployment: {gpu: l4, weight_dtype: nvfp4}\n", "l4: ", "does not run nvfp4 weights on ada"
    ),
    estimate("gpu option", "", "--gpu 8xh10: deployment.gpu: no GPU 'h10'", "mean H100", args=("--gpu", "8xh10")),
]

BIG = BASE.replace("llama-3.1-8b", "llama-3.1-70b")
HUGE = BASE.replace("llama-3.1-8b", "deepseek-v3")
BUSY = BASE.replace("12 requests/s", "1200 requests/s")
SMALL_OFFER = "offers: {gpus: [l40s]}\n"

INFEASIBLE = [
    added(
        "ttft below what a GPU can do",
        "slo: {ttft: 1 ms p95}\n" + SMALL_OFFER,
        "no plan reaches ttft p95 1.00 ms at 500 input tokens; the best without load is",
        "x it",
        "binding constraint: slo.ttft",
        "best reachable alone",
        "nearest feasible",
        " ms p95 ",
        code=4,
    ),
    added(
        "tpot below what a GPU can do",
        "slo: {tpot: 10 us p95}\n" + SMALL_OFFER,
        "no plan reaches tpot p95 10.0 us",
        "binding constraint: slo.tpot",
        code=4,
    ),
    workload(
        "model that fits nowhere on the GPU",
        HUGE + "offers: {gpus: [l4]}\n",
        "no candidate has memory for one request of 500 + 200 tokens",
        "GiB too much",
        "binding constraint: memory",
        "offers: search the whole catalog without spot",
        code=4,
    ),
    added(
        "budget",
        "limits: {usd_per_hour: 0.1 USD/h}\n" + SMALL_OFFER,
        "USD/h are needed, at most 0.1 are allowed",
        "binding constraint: usd_per_hour",
        "limits: lifted",
        code=4,
    ),
    workload(
        "cap on GPUs",
        BUSY + "limits: {gpus: 2}\n" + SMALL_OFFER,
        "GPUs are needed, at most 2 are allowed",
        "binding constraint: gpus",
        "limits: lifted",
        "requests/s $",
        code=4,
    ),
    added(
        "layout",
        "deployment: {tp: 3}\n" + SMALL_OFFER,
        "no layout with tp 3 fits",
        "binding constraint: layout",
        "deployment: search all layouts and formats",
        code=4,
    ),
    added(
        "format",
        "deployment: {gpu: l4, weight_dtype: nvfp4}\n",
        "does not run nvfp4 weights on ada",
        "binding constraint: formats",
        code=4,
    ),
    added(
        "offer that nobody makes",
        "offers: {gpus: [b200-sxm], providers: [azure]}\n",
        "no offer in the price sheets has gpu b200-sxm, provider azure, market on_demand",
        "binding constraint: offers",
        "search the whole catalog",
        code=4,
    ),
    workload(
        "deployment that does not fit",
        BIG,
        "h100-sxm-tp1-bf16 does not fit: weights",
        "GiB too much",
        "binding constraint: memory",
        "2xh100-sxm: h100-sxm-tp2-bf16",
        args=("estimate", "w.yaml", "--gpu", "h100"),
        code=4,
    ),
    workload(
        "deployment that no number of these GPUs holds",
        HUGE,
        "l4-tp8-fp8 does not fit",
        "binding constraint: memory",
        "4xb300-sxm",
        args=("estimate", "w.yaml", "--gpu", "8xl4"),
        code=4,
    ),
    table(
        "no GPU can",
        TABLE + "a,1,500,200,0\n",
        "no GPU of the table serves 500 in 200 out",
        "binding constraint: profile",
        code=4,
    ),
    table(
        "too dear",
        TABLE + "a,1,500,200,5\n",
        "3 USD/h are needed, at most 1 are allowed",
        "rate: ",
        base=BASE + "limits: {usd_per_hour: 1 USD/h}\n",
        code=4,
    ),
]

QUOTES = "provider,node,price_per_hour\nacme,p5.48xlarge,40\n"


def quotes(name: str, args: str, *says: str, text: str = QUOTES, **more: Any) -> Case:
    every = ("prices", "import", "q.csv", *args.split("|")) if args else ("prices", "import", "q.csv")
    return Case(
        name=f"quotes: {name}", files={"q.csv": text, "kept/x": "", "v.csv": text}, args=every, says=says, **more
    )


def listed(name: str, args: str, *says: str, **more: Any) -> Case:
    return Case(name=f"prices: {name}", args=("prices", "list", *args.split("|")), says=says, **more)


PRICES = [
    listed("gpu", "--gpu|h100sxn", "no GPU 'h100sxn' in the catalog; did you mean h100-sxm"),
    listed("gpus", "--gpu|8xh100", "--gpu 8xh100: has a number; want the GPU alone, or a node with --node"),
    listed("provider", "--provider|awss", "--provider: no provider 'awss' has a price; did you mean aws"),
    listed("region", "--region|us-east-9", "--region: no region 'us-east-9' has a price; did you mean us-east-1"),
    listed("node", "--node|p5.49xlarge", "no node 'p5.49xlarge' in the catalog; did you mean p5.4"),
    listed("market", "--market|spott", "--market: 'spott' is not known here; did you mean spot?"),
    listed("age in words", "--max-price-age|x", "--max-price-age: 'x' does not fit; want a whole number"),
    listed("limit", "--limit|-1", "--limit -1: want 0 (all) or more"),
    listed("cap", "--max-usd-per-gpu-hour|0", "--max-usd-per-gpu-hour 0: want more than 0 USD"),
    listed("cap of nan", "--max-usd-per-gpu-hour|nan", "--max-usd-per-gpu-hour nan: want more than 0 USD"),
    listed("age", "--max-price-age|-1", "--max-price-age -1: want 0 days or more"),
    listed("day", "-q", "LLMPLAN_TODAY: 'May' is no day; write it as 2026-01-31", env={"LLMPLAN_TODAY": "May"}),
    listed("currency", "--currency|EUR", "--currency EUR: is no currency with its rate; write it as EUR=0.92 (EUR for"),
    listed("currency of 0", "--currency|EUR=0", "--currency EUR=0: is no currency with its rate"),
    listed("currency in words", "--currency|euro=0.9", "--currency euro=0.9: is no currency with its rate"),
    listed("other dollars", "--currency|USD=2", "--currency USD=2: 1 USD is 1 USD; want another currency such as EUR"),
    listed("variable", "-q", "LLMPLAN_CURRENCY EUR: is no currency with", env={"LLMPLAN_CURRENCY": "EUR"}),
    options("currency of a plan", "--currency|0.92", "--currency 0.92: is no currency with its rate"),
    options("age of a plan", "--max-price-age|-1", "--max-price-age -1: want 0 days or more"),
    Case(
        name="quotes: no file",
        files={"q.csv": QUOTES},
        args=("prices", "import", "p.csv"),
        says=("p.csv: no such file; did you mean q.csv?",),
    ),
    Case(
        name="quotes: no table",
        files={"w.yaml": BASE},
        args=("prices", "import", "p.csv"),
        says=("p.csv: no such file; give a CSV",),
    ),
    quotes("no day", "", "q.csv:2: has no day; give --snapshot 2026-01-31, or --snapshot unknown"),
    quotes("day in words", "--snapshot|May", "--snapshot: 'May' is no day; write it as 2026-01-31"),
    quotes("rate", "--snapshot|unknown|--rate|EUR", "--rate EUR: is no currency with its rate; write it as EUR=1.08"),
    quotes("binary", "", "q.csv: is no text; want YAML, JSON or CSV", text="\0"),
    quotes("another column", "", "q.csv: no column 'prize' is read; did you mean", text="node,prize\nx,1\n"),
    quotes(
        "folder that is a file", "--snapshot|unknown|--output-dir|v.csv", "--output-dir v.csv: is a file; want a folder"
    ),
    quotes(
        "folder in no folder", "--snapshot|unknown|--output-dir|a/b", "--output-dir a/b: no folder 'a'; make it first"
    ),
    quotes(
        "folder that may not be written",
        "--snapshot|unknown|--output-dir|closed/new",
        "--output-dir closed/new: cannot be written (Permission denied)",
        prepare=lambda _: Path("closed").mkdir(mode=0o500),
        marks=needs_permissions,
    ),
]

CASES = [
    *PRICES,
    *NAMES,
    *NUMBERS,
    *CLASSES,
    *BOUNDS,
    *FILES,
    *OPTIONS,
    *TABLES,
    *PLANS,
    *CONFIGS,
    *NOT_YET,
    *DEPLOYMENTS,
    *INFEASIBLE,
]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A plan of one pool of l40s, as llmplan writes it."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "w.yaml").write_text(BASE + SMALL_OFFER, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["llmplan", "recommend", "w.yaml", "-q", "-o", "p.json"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    found: dict[str, Any] = json.loads((folder / "p.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=case.marks) for case in CASES])
def test_what_is_wrong_is_said_in_one_line(
    case: Case,
    plan: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LLMPLAN_") and name != "LLMPLAN_TODAY"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    write(case, plan)
    if case.stdin is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(case.stdin)))
    before = contents(tmp_path)
    if case.prepare is not None:
        case.prepare(monkeypatch)

    monkeypatch.setattr(sys, "argv", ["llmplan", *case.args])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()

    assert ended.value.code == case.code, err
    assert "Traceback" not in out + err
    assert "pydantic" not in err
    errors = [line for line in err.splitlines() if line.startswith("llmplan: ")]
    if case.code == 2:
        assert out == ""
        assert contents(tmp_path, before) == before
        assert case.usage or (err.splitlines() == errors and len(errors) == 1), err
        told = err.removesuffix("\n")
    else:
        assert errors == []
        told = " ".join(out.split())
    if case.code == 4:
        assert "binding constraint: " in told
        assert "nearest feasible" in told
    assert told.isprintable() or case.usage
    for words in case.says:
        assert words in told


def write(case: Case, plan: dict[str, Any]) -> None:
    files = dict(case.files)
    if case.plan is not None:
        document = copy.deepcopy(plan)
        case.plan(document)
        files["p.json"] = json.dumps(document, indent=1)
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def contents(folder: Path, only: Mapping[Path, bytes] | None = None) -> dict[Path, bytes]:
    """Return the files of a folder; those that cannot be read any more as they were."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[path] = path.read_bytes() if os.access(path, os.R_OK) else (only or {})[path]
    return found
