"""What the commands print when all is well: formats, round trip, streams, colors, widths."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llmplan.cli.app import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MIX = str(EXAMPLES / "mix-llama-8b.yaml")
PLANNED = ("chat-llama-70b", "deepseek-v3", "local-model", "mix-llama-8b")
COMMANDS = [
    [],
    ["recommend"],
    ["estimate"],
    ["catalog"],
    ["catalog", "list"],
    ["catalog", "show"],
    ["models"],
    ["models", "list"],
    ["models", "show"],
    ["prices"],
    ["prices", "list"],
    ["prices", "import"],
    ["schema"],
]
KEYS = ["schema_version", "kind", "status", "plan", "cost", "predicted", "optimality", "search", "excuses", "warnings"]
LISTS = ["gpus", "nodes", "links", "engines", "fits", "offers"]
ESCAPE = "\x1b["


@dataclass(frozen=True)
class Ran:
    """How one command ended and what it said."""

    code: int | str | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer, strictly: no NaN and no Infinity."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def llmplan(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
    """Run a command in this process, in a plain environment."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("LLMPLAN_") or n in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")]:
            patch.delenv(name)
        patch.setenv("LLMPLAN_TODAY", "2026-09-01")
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["llmplan", *args])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return Ran(ended.value.code, out.getvalue(), err.getvalue())


def good(*args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
    ran = llmplan(*args, stdin=stdin, env=env)
    assert ran.code in (0, None), ran.err
    return ran


def widest(text: str) -> int:
    return max(len(line) for line in text.splitlines())


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ran, Path]]:
    """Every example that has a plan: its table at 80 columns with everything explained, and its plan file."""
    folder = tmp_path_factory.mktemp("plans")
    found = {}
    for name in PLANNED:
        path = folder / f"{name}.yaml"
        args = ("recommend", str(EXAMPLES / f"{name}.yaml"), "--explain", "-o", str(path))
        found[name] = good(*args, env={"COLUMNS": "80"}), path
    return found


@pytest.fixture(scope="module")
def mix() -> Ran:
    return good("recommend", MIX, "--format", "json")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_tells_the_exit_codes(command: list[str]) -> None:
    text = " ".join(good(*command, "--help").out.split())
    assert "Usage: llmplan" in text
    for code in ("0 answer given", "2 usage", "4 infeasible", "130 interrupted"):
        assert code in text


def test_help_starts_without_the_heavy_libraries() -> None:
    script = (
        "import sys, contextlib\n"
        "from llmplan.cli.app import app\n"
        "with contextlib.suppress(SystemExit):\n"
        "    app(['--help'])\n"
        "print([n for n in ('numpy', 'scipy', 'pulp', 'highspy', 'pandas') if n in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    assert good("--version").out.startswith("llmplan ")


def test_an_answer_is_one_document(mix: Ran) -> None:
    document = mix.json
    assert [key for key in document if key in KEYS] == KEYS
    assert "provenance" in document
    assert (document["schema_version"], document["kind"], document["status"]) == (1, "plan", "optimal")
    assert document["provenance"]["defaults"]


def test_every_format_tells_the_same(mix: Ran, answers: dict[str, tuple[Ran, Path]]) -> None:
    as_yaml = good("recommend", MIX, "--format", "yaml")
    assert yaml.safe_load(as_yaml.out) == mix.json
    assert yaml.safe_load(answers["mix-llama-8b"][1].read_text("utf-8")) == mix.json
    rows = list(csv.DictReader(io.StringIO(good("recommend", MIX, "-f", "csv").out)))
    assert len(rows) == len(mix.json["plan"]["pools"])
    assert all(None not in row and None not in row.values() for row in rows)
    assert good("recommend", MIX, "-f", "markdown").out.count("| --") > 0


def test_json_is_what_the_schema_says(mix: Ran) -> None:
    schema = good("schema", "plan").json
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(mix.json)) == []
    refused = llmplan("recommend", str(EXAMPLES / "infeasible.yaml"), "--json", "-q")
    assert refused.code == 4
    assert refused.json["status"] == "infeasible"
    assert list(validator.iter_errors(refused.json)) == []
    estimated = good("estimate", MIX, "--gpu", "l40s", "--json")
    assert list(validator.iter_errors(estimated.json)) == []


def test_a_deployment_that_misses_its_bounds_is_json_too() -> None:
    document = good("estimate", str(EXAMPLES / "infeasible.yaml"), "--gpu", "4xh100-sxm", "--json").json
    assert document["findings"]


def test_same_question_same_bytes(mix: Ran) -> None:
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-m", "llmplan", "recommend", MIX, "--json", "-q"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert ran.stdout == mix.out


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_file_is_estimated_as_it_was_planned(name: str, answers: dict[str, tuple[Ran, Path]]) -> None:
    path = answers[name][1]
    planned = yaml.safe_load(path.read_text("utf-8"))
    again = good("estimate", str(path), "--json").json
    assert again["kind"] == "estimate"
    for key in ("plan", "cost", "pools", "predicted"):
        assert again[key] == planned[key]
    assert "valid plan" in good("schema", "plan", "--check", str(path)).out


def test_standard_input_is_read(mix: Ran) -> None:
    ran = good("recommend", "-", "--json", "-q", stdin=(EXAMPLES / "mix-llama-8b.yaml").read_text("utf-8"))
    assert ran.json["plan"] == mix.json["plan"]


def test_a_plan_goes_through_a_pipe(answers: dict[str, tuple[Ran, Path]]) -> None:
    text = answers["mix-llama-8b"][1].read_text("utf-8")
    assert good("estimate", "-", stdin=text).out.startswith("Estimate for meta-llama/Llama-3.1-8B-Instruct")


def test_set_wins_over_the_environment_and_both_over_the_file() -> None:
    fixed = ("estimate", MIX, "--gpu", "l40s", "--json", "-q")
    env = {"LLMPLAN_SLO__TTFT": "700 ms p90", "LLMPLAN_WORKLOAD__RATE": "3 requests/s"}
    document = good(*fixed, env=env).json
    workload = document["plan"]["fleet"]["workloads"][0]
    assert workload["slo"]["ttft"] == {"bound_s": 0.7, "percentile": 90.0}
    assert workload["traffic"]["requests_per_s"] == 3
    assert document["provenance"]["origins"]["slo.ttft"] == "environment LLMPLAN_SLO__TTFT"
    document = good(*fixed, "--set", "slo.ttft=600 ms p99", env=env).json
    assert document["plan"]["fleet"]["workloads"][0]["slo"]["ttft"] == {"bound_s": 0.6, "percentile": 99.0}
    assert document["provenance"]["origins"] == {
        "deployment.gpu": "--gpu",
        "slo.ttft": "--set",
        "workload.rate": "environment LLMPLAN_WORKLOAD__RATE",
    }


def test_gpu_narrows_the_offers() -> None:
    for args in (("--gpu", "L40S", "--gpu", "A10G"), ("--gpu", "l40s,a10g")):
        document = good("recommend", MIX, *args, "--json").json
        assert {pool["gpu"] for pool in document["plan"]["pools"]} <= {"l40s", "a10g"}
        assert {other["name"] for other in document["alternatives"]} <= {"l40s", "a10g"}


def test_gpu_fixes_the_deployment_of_an_estimate() -> None:
    pool = good("estimate", MIX, "--gpu", "2xH100", "--json").json["plan"]["pools"][0]
    assert (pool["gpu"], pool["gpus"]) == ("h100-sxm", 2)


def test_quiet_leaves_stderr_empty(mix: Ran) -> None:
    fixed = ("estimate", MIX, "--gpu", "l40s")
    assert good(*fixed, "--quiet").err == ""
    assert "default " in good(*fixed).err
    assert "evaluated " in mix.err
    assert good("recommend", MIX, "--gpu", "l40s", "-q").err == ""


def test_colors_are_for_terminals_and_for_those_who_ask() -> None:
    fixed = ("estimate", MIX, "--gpu", "l40s", "-q")
    assert ESCAPE not in good(*fixed).out
    assert ESCAPE in good(*fixed, env={"FORCE_COLOR": "1"}).out
    assert ESCAPE not in good(*fixed, env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).out
    assert ESCAPE not in good(*fixed, "--no-color", env={"FORCE_COLOR": "1"}).out
    assert ESCAPE not in good(*fixed, "--json", env={"FORCE_COLOR": "1"}).out


def test_an_error_is_red_only_on_a_terminal() -> None:
    assert ESCAPE not in llmplan("recommend", "nowhere.yaml").err


TABLES = [
    *(["catalog", "list", kind] for kind in LISTS),
    ["catalog", "list", "support"],
    *(["catalog", "show", name] for name in ("h100", "p5.48xlarge", "nvlink-4", "vllm", "sglang", "trtllm")),
    ["models", "list"],
    ["prices", "list"],
    ["prices", "list", "--gpu", "h100", "--market", "spot", "--explain"],
    *(["models", "show", name] for name in ("llama-3.1-70b", "deepseek-v3")),
    ["estimate", MIX, "--gpu", "l40s", "--explain", "-q"],
]


@pytest.mark.parametrize("command", TABLES, ids=" ".join)
def test_tables_fit_80_columns(command: list[str]) -> None:
    assert widest(good(*command, env={"COLUMNS": "80"}).out) <= 80


@pytest.mark.parametrize("name", PLANNED)
def test_answers_fit_80_columns(name: str, answers: dict[str, tuple[Ran, Path]]) -> None:
    ran, path = answers[name]
    assert widest(ran.out) <= 80
    assert ran.err.splitlines()[-1] == f"wrote {path}"


def test_refusals_fit_80_columns() -> None:
    ran = llmplan("recommend", str(EXAMPLES / "infeasible.yaml"), "--explain", env={"COLUMNS": "80"})
    assert ran.code == 4
    assert widest(ran.out) <= 80


def test_output_replaces_a_file_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("as it was", encoding="utf-8")
    fixed = ("estimate", MIX, "--gpu", "l40s", "-q", "-o", str(path))
    assert llmplan(*fixed).code == 2
    assert path.read_text("utf-8") == "as it was"
    good(*fixed, "--overwrite")
    assert json.loads(path.read_text("utf-8"))["status"] == "estimate"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [
        (".yaml", "schema_version: 1"),
        (".json", "{"),
        (".csv", "status,pool,"),
        (".md", "### Estimate"),
        (".txt", "Estimate"),
    ],
)
def test_the_suffix_sets_the_format_of_the_file(suffix: str, begins: str, tmp_path: Path) -> None:
    path = tmp_path / f"answer{suffix}"
    ran = good("estimate", MIX, "--gpu", "l40s", "-q", "--json", "-o", str(path))
    assert path.read_text("utf-8").startswith(begins)
    assert ran.json["kind"] == "estimate"


def test_exit_zero_and_warnings_as_errors() -> None:
    tight = ("estimate", MIX, "--gpu", "l40s", "-q", "--set", "slo.ttft=1 ms p95")
    assert good(*tight).out.count("misses its bound") == 1
    assert llmplan(*tight, "--warn-as-error").code == 3
    assert llmplan(*tight, "--warn-as-error", "--exit-zero").code == 0
    big = ("estimate", str(EXAMPLES / "chat-llama-70b.yaml"), "--gpu", "h100", "-q")
    assert llmplan(*big).code == 4
    assert llmplan(*big, "--exit-zero").code == 0


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_the_catalog(kind: str) -> None:
    rows = good("catalog", "list", kind, "--format", "json").json
    assert rows
    assert len({tuple(row) for row in rows}) == 1
    assert len(list(csv.DictReader(io.StringIO(good("catalog", "list", kind, "-f", "csv").out)))) == len(rows)
    assert f"{len(rows)} {kind}" in good("catalog", "list", kind).out


@pytest.mark.parametrize("columns", ["80", "140"])
def test_lists_show_what_is_preliminary_and_what_was_measured(columns: str) -> None:
    lines = good("catalog", "list", "gpus", env={"COLUMNS": columns}).out.splitlines()
    row = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert row["gpu"][-1] == "basis"
    assert ("architecture" in row["gpu"]) == (columns == "140")
    assert "preliminary" in row["rubin-r200-nvl72"]
    assert row["h100-sxm"][-1] == "calibrated"
    assert max(len(line) for line in lines) <= int(columns)


def test_lists_of_one_architecture() -> None:
    rows = good("catalog", "list", "gpus", "--architecture", "Hopper", "-f", "json").json
    assert {"h100-sxm", "h200-nvl", "h20-96"} < {row["gpu"] for row in rows}
    assert {row["architecture"] for row in rows} == {"hopper"}
    assert "did you mean hopper" in llmplan("catalog", "list", "gpus", "--architecture", "hoper").err
    assert "only GPUs have one" in llmplan("catalog", "list", "nodes", "--architecture", "hopper").err


@pytest.mark.parametrize(("name", "said"), [("h100-1g.10gb", "a MIG slice"), ("g6f.xlarge", "a slice of an L4")])
def test_an_entry_that_is_refused_says_why(name: str, said: str) -> None:
    ran = llmplan("catalog", "show", name)
    assert ran.code == 2
    assert said in ran.err


def test_offers_that_take_no_part_unless_named_are_listed() -> None:
    rows = good("catalog", "list", "offers", "-f", "json").json
    assert {row["snapshot"] for row in rows if row["offer"].startswith("vultr/")} == {None}


@pytest.mark.parametrize("kind", ["gpus", "nodes", "fits", "offers"])
def test_lists_of_one_gpu(kind: str) -> None:
    rows = good("catalog", "list", kind, "--gpu", "H100", "-f", "json").json
    assert {row["gpu"] for row in rows} == {"h100-sxm"}


def test_support_by_family_engine_and_gpu() -> None:
    rows = {row["family"]: row for row in good("catalog", "list", "support", "-f", "json").json}
    assert rows["llama"] == {"family": "llama", "sglang": "0.5.14", "trtllm": "1.3.0rc20", "vllm": "0.24.0"}
    assert rows["kimi-linear"]["vllm"] == "0.27.0"
    assert rows["falcon"]["trtllm"] is None
    ada = good("catalog", "list", "support", "--gpu", "L40S", "--engine", "trt", "-f", "json").json
    assert {"llama", "qwen3"} < {row["family"] for row in ada}
    assert not {"deepseek", "deepseek-v4"} & {row["family"] for row in ada}
    assert [set(row) for row in ada] == [{"family", "trtllm"}] * len(ada)
    (one,) = good("catalog", "list", "support", "--family", "glm-dsa", "-f", "json").json
    assert one["family"] == "glm-dsa"


@pytest.mark.parametrize("width", [80, 140])
def test_an_engine_is_shown_with_its_families_and_sources(width: int) -> None:
    shown = good("catalog", "show", "vllm", env={"COLUMNS": str(width)}).out
    lines = [line.split() for line in shown.splitlines()]
    assert ["llama", "also", "eagle"] in lines
    assert ["mixtral", "all"] in lines
    assert "since 0.27.0" in " ".join(shown.split())
    assert widest(shown) <= width


@pytest.mark.parametrize("name", ["vllm", "rubin", "h100", "ct6e-standard-1t"])
def test_names_of_fields_never_break(name: str) -> None:
    def fields(columns: str) -> list[str]:
        lines = good("catalog", "show", name, env={"COLUMNS": columns}).out.splitlines()[2:]
        return [line.split("  ")[1] or line.split()[0] for line in lines if line[2:4].strip() or line[4:5].strip()]

    assert fields("80") == fields("160")


def test_facts_that_nobody_published_are_shown() -> None:
    def rows(name: str) -> dict[str, str]:
        lines = good("catalog", "show", name, "--wide").out.splitlines()[1:]
        return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}

    tpu, rubin, node = rows("tpu-v6e"), rows("rubin"), rows("jarvislabs-l4-1x")
    assert tpu["clock_hz"] == tpu["tdp_w"] == rubin["idle_w"] == rubin["l2_bytes"] == node["nvme_bytes"] == "not known"
    assert rows("p5.48xlarge")["link_domain"].startswith("not known planned as of the GPU")
    assert rows("l4")["link"].startswith("none")


@pytest.mark.parametrize(
    ("name", "filtered"), [("p5.48xlarge", ["--node", "p5.48xlarge"]), ("h100", ["--gpu", "h100"])]
)
def test_an_entry_is_shown_with_its_cheapest_price(name: str, filtered: list[str]) -> None:
    shown = good("catalog", "show", name, "--wide").out.splitlines()
    listed = good("prices", "list", *filtered, "--market", "on_demand", "--json", "-q").json
    best = next(row for row in listed if row["snapshot"] is not None)
    usd = best["usd_per_gpu_hour"] if name == "h100" else best["usd_per_hour"]
    (line,) = (line for line in shown if line.startswith("  cheapest on_demand"))
    for said in (f"{usd:.2f} USD/", best["region"], best["provider"], best["snapshot"]):
        assert said in line


def test_columns_left_out_are_named_and_wide_shows_them() -> None:
    narrow = good("catalog", "list", "gpus", env={"COLUMNS": "80"}).out
    assert "2 columns left out (architecture, bf16): widen the terminal or use --wide" in narrow
    wide = good("catalog", "list", "gpus", "--wide", env={"COLUMNS": "80"}).out
    assert "architecture" in wide.splitlines()[1]
    assert "left out" not in wide


def test_json_is_short_for_a_format() -> None:
    for command in (["catalog", "list", "links"], ["catalog", "show", "h100"]):
        assert good(*command, "--json").out == good(*command, "-f", "json").out


def test_whole_numbers_of_a_list_have_no_point() -> None:
    rows = csv.DictReader(io.StringIO(good("catalog", "list", "nodes", "-f", "csv").out))
    assert {row["node"]: row["dram_bytes"] for row in rows}["p5.48xlarge"] == str(2 * 2**40)


@pytest.mark.parametrize(
    ("kind", "gpu", "said"),
    [("gpus", "l4", "1 gpu\n"), ("fits", "h100", "1 fit\n"), ("nodes", "rtx-a6000", "1 node\n")],
)
def test_one_is_not_many(kind: str, gpu: str, said: str) -> None:
    assert good("catalog", "list", kind, "--gpu", gpu).out.startswith(said)
    assert good("catalog", "list", "support", "--family", "glm-dsa").out.startswith("1 model family,")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpu", "tpu-v6e"], "no engine of the catalog lists the architecture tpu-v6e"),
        (["--gpu", "rubin"], "no engine of the catalog lists the architecture rubin"),
        (["--gpu", "mi300x", "--engine", "trtllm"], "trtllm does not list the architecture cdna3 (mi300x); sglang and"),
        (["--gpu", "t4", "--family", "deepseek"], "no engine of the catalog runs deepseek on the architecture turing"),
    ],
)
def test_support_of_nothing_says_why(options: list[str], said: str) -> None:
    ran = good("catalog", "list", "support", *options, "--json")
    assert ran.json == []
    assert said in ran.err


def test_a_family_of_another_engine_is_not_unknown() -> None:
    ran = llmplan("catalog", "list", "support", "--family", "falcon", "--engine", "trt")
    assert ran.code == 2
    assert "--family falcon: engine trtllm does not run it" in ran.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("8xh100", "an entry is one device; name h100-sxm"),
        ("h100:8", "name h100-sxm"),
        ("8xA100", "name a100-40-sxm, a100-80-sxm"),
        ("MI355x8", "name mi355x, or 8xmi355x"),
    ],
)
def test_an_entry_with_a_number_leads_to_the_device(name: str, said: str) -> None:
    ran = llmplan("catalog", "show", name)
    assert ran.code == 2
    assert said in ran.err


def test_an_entry_tells_where_its_values_are_from() -> None:
    entry = good("catalog", "show", "H100", "-f", "json").json
    assert entry["name"] == "h100-sxm"
    row = next(line for line in good("catalog", "show", "h100").out.splitlines() if "memory_bytes_per_s" in line)
    assert entry["sources"]["memory_bytes_per_s"]["tag"].split()[0] in row


def test_models(tmp_path: Path) -> None:
    names = [row["model"] for row in good("models", "list", "-f", "json").json]
    assert "llama-3.1-70b" in names
    assert "131,072 tokens" in good("models", "show", "llama-3.1-70b").out
    local = EXAMPLES / "local-model"
    shown = good("models", "show", str(local), "-f", "json").json
    assert good("models", "show", str(local / "config.json"), "-f", "json").json == shown
    assert shown["name"] == "local-model"
    (tmp_path / "config.json").write_text((local / "config.json").read_text("utf-8"), encoding="utf-8")
    assert good("models", "show", str(tmp_path), "-f", "json").json["layers"] == shown["layers"]


def test_schemas() -> None:
    kinds = good("schema").out.split()
    assert {"workload", "fleet", "plan", "gpu", "model", "prices"} <= set(kinds)
    for kind in kinds:
        schema = good("schema", kind).json
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"


def test_schema_checks_files() -> None:
    ran = good("schema", "workload", "--check", MIX, "--check", str(EXAMPLES / "local-model.yaml"))
    assert ran.out.count("valid workload") == 2
    assert "valid gpu" in good("schema", "gpu", "--check", str(ROOT / "hardware" / "gpus" / "l40s.yaml")).out


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.yaml"))])
def test_examples_are_what_the_schema_says(name: str) -> None:
    validator = jsonschema.Draft202012Validator(good("schema", "workload").json)
    assert list(validator.iter_errors(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text("utf-8")))) == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "llmplan", "catalog", "list", "offers"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


def test_a_model_that_is_imported_again_is_said_to_be_as_it_was(tmp_path: Path) -> None:
    own, file = tmp_path / "own", f"{tmp_path / 'own'}/models/tiny.yaml"
    args = ("models", "import", str(ROOT / "examples/local-model"), "--name", "tiny", "--output-dir", str(own))
    assert good(*args).err.splitlines()[-1] == f"wrote {file}; use it with --catalog {own}"
    assert good(*args).err.splitlines()[-1] == f"{file} is as it was; use it with --catalog {own}"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("two\nlines"), 1)])
def test_an_interrupt_and_a_bug_end_in_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("llmplan.estimate.estimate_workload", fail)
    ran = llmplan("estimate", MIX, "--gpu", "l40s", "-q")
    assert (ran.code, ran.out) == (code, "")
    assert len(ran.err.splitlines()) <= 1
    assert "Traceback" not in ran.err
    if code == 1:
        assert "internal error: RuntimeError: two lines; please report it" in ran.err
        assert "Traceback" in llmplan("estimate", MIX, "--gpu", "l40s", "-q", "-v").err
