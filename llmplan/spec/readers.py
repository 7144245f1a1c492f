"""Files of the user: workloads, fleets, plans, models and measured tables, read into nouns."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmplan.errors import InputError, near
from llmplan.spec.catalog import Catalog
from llmplan.spec.config_json import model_from_config
from llmplan.spec.messages import field_names, read_as
from llmplan.spec.model import Model
from llmplan.spec.plan import Answer
from llmplan.spec.workload import Fleet, WorkloadFile
from llmplan.spec.yaml_files import MAX_BYTES, YamlText, read_yaml, scalar, with_values

ENVIRONMENT = "LLMPLAN_"
RESERVED = frozenset({"LLMPLAN_CATALOG"})
"""Variables that are no field of a workload."""
DEFAULT_WORKLOAD = "llmplan.yaml"


def read_text(name: str) -> tuple[str, str]:
    """Return (text, where) of a file; `-` is standard input, `.gz` is unpacked.

    Raises
    ------
    InputError
        The file is missing, unreadable, no text, or too large.
    """
    if name == "-":
        return _decoded(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input"), "standard input"
    path = Path(name)
    try:
        with path.open("rb") as plain, gzip.GzipFile(fileobj=plain) if name.endswith(".gz") else plain as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; {_beside(path)}") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; want a file") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return _decoded(raw, name), name


def _decoded(raw: bytes, where: str) -> str:
    if len(raw) > MAX_BYTES:
        raise InputError(f"{where}: more than {MAX_BYTES // 2**20} MiB; want a smaller file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is no UTF-8 text (byte {error.start}); want YAML, JSON or CSV") from None
    if "\0" in text:
        raise InputError(f"{where}: is no text; want YAML, JSON or CSV")
    return text


def _beside(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml", ".json", ".csv")]
    except OSError:
        return "its folder does not exist"
    return near(path.name, names) or "give a workload file (llmplan schema workload)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as it was read: a fleet, or an answer that llmplan wrote; and where values came from."""

    fleet: Fleet
    answer: Answer | None
    where: str
    origins: Mapping[str, str]
    line_of: Any
    """Function from a path to its line in the file."""


def read_question(name: str, sets: Sequence[str] = ()) -> Asked:
    """Return what a workload, fleet or plan file asks, with `--set` and the environment applied.

    Raises
    ------
    InputError
        One line: file, line, key, what is wrong, what would be right.
    """
    text, where = read_text(name)
    raw = read_yaml(text, where)
    if isinstance(raw.data, Mapping) and "schema_version" in raw.data:
        return _read_answer(raw, sets)
    values, origins = _overrides(sets)
    if values:
        _check_paths(values, origins)
        raw = YamlText(where, raw.text, with_values(raw.data if raw.data is not None else {}, values, where))
    if isinstance(raw.data, Mapping) and "workloads" in raw.data:
        fleet = read_as(Fleet, raw)
    else:
        fleet = read_as(WorkloadFile, raw).fleet()
    return Asked(fleet=fleet, answer=None, where=where, origins=origins, line_of=raw.line)


def _read_answer(raw: YamlText, sets: Sequence[str]) -> Asked:
    if sets:
        raise InputError(f"{raw.where}: --set changes a workload, and this is a plan; set it in the workload file")
    version = raw.data.get("schema_version")
    if version != 1:
        raise InputError(f"{raw.where}: schema_version {version!r} is not read by this version; want 1")
    answer = read_as(Answer, raw, base_units=True)
    if answer.plan is None:
        raise InputError(f"{raw.where}: holds the answer '{answer.status}' and no plan; give a plan or a workload")
    return Asked(fleet=answer.plan.fleet, answer=answer, where=raw.where, origins={}, line_of=raw.line)


def _overrides(sets: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values by dotted path, options over the environment, and where each came from."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in sorted(os.environ):
        if key.startswith(ENVIRONMENT) and key not in RESERVED:
            path = key.removeprefix(ENVIRONMENT).lower().replace("__", ".")
            values[path], origins[path] = scalar(os.environ[key]), f"environment {key}"
    for text in sets:
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            raise InputError(f"--set {text}: want PATH=VALUE such as slo.ttft='500 ms p95'")
        values[path.strip()], origins[path.strip()] = scalar(value), "--set"
    return values, origins


def _check_paths(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Refuse a path whose first name is no field, offering the nearest full path."""
    roots = {*field_names(WorkloadFile, ()), *WorkloadFile.model_fields, "workloads"}
    for path in values:
        head = path.split(".")[0].split("[")[0]
        if head in roots:
            continue
        tail = path[len(head) :]
        advice = near(head, roots)
        full = f"did you mean {advice.removeprefix('did you mean ').rstrip('?')}{tail}?" if "did you" in advice else ""
        shown = f"--set {path}={values[path]}" if origins[path] == "--set" else origins[path]
        raise InputError(f"{shown}: no field {head!r}; {full or 'llmplan schema workload lists them'}")


def read_model(name: str, catalog: Catalog, beside: str | None = None) -> tuple[Model, list[str]]:
    """Return a model of the catalog, or of a local config.json (or a folder that holds one), and warnings.

    Parameters
    ----------
    beside : str, optional
        File that names the model: a relative path is looked for in its folder first.

    Raises
    ------
    LlmplanError
        Neither a catalog name nor a path, or a config.json that cannot be used.
    """
    path = Path(name).expanduser()
    if beside is not None and not path.is_absolute() and (Path(beside).parent / path).exists():
        path = Path(beside).parent / path
    looks_local = name.endswith((".json", ".yaml", ".yml")) or name.startswith((".", "/", "~")) or path.is_dir()
    if not looks_local:
        return catalog.model(name), []
    if path.is_dir():
        path = path / "config.json"
    text, where = read_text(str(path))
    if path.suffix in (".yaml", ".yml"):
        return read_as(Model, read_yaml(text, where)), []
    quantization = _json(path.parent / "hf_quant_config.json")
    return model_from_config(_parsed_json(text, where), where, quantization=quantization)


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    found: Mapping[str, Any] = _parsed_json(*read_text(str(path)))
    return found


def _parsed_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{where}{line}: is no JSON; want the model's config.json") from None


PROFILE_COLUMNS = ("gpu", "usd_per_hour", "input_tokens", "output_tokens", "requests_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """One measured cell: a replica of one GPU type serves so many requests/s of these lengths; 0: it cannot."""

    gpu: str
    usd_per_hour: float
    input_tokens: float
    output_tokens: float
    requests_per_s: float


def read_profile(name: str) -> list[ProfileRow]:
    """Return the rows of a measured table of kind `replica_throughput`.

    Raises
    ------
    InputError
        Not a table of that kind, a cell is missing, negative or no number, or a cell comes twice.
    """
    text, where = read_text(name)
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    kind = next((line.split(":", 1)[1].strip() for line in lines[:first] if line[1:].strip().startswith("kind:")), None)
    reader = csv.DictReader(io.StringIO("\n".join(lines[first:])))
    columns = reader.fieldnames or []
    _check_profile(columns, kind, where)
    rows = [_profile_row(row, f"{where}:{first + number}") for number, row in enumerate(reader, start=2)]
    if not rows:
        raise InputError(f"{where}: holds no rows; want {', '.join(PROFILE_COLUMNS)}")
    seen: dict[tuple[str, float, float], float] = {}
    for row in rows:
        key = (row.gpu, row.input_tokens, row.output_tokens)
        if key in seen:
            raise InputError(f"{where}: {row.gpu} has two rows for {row.input_tokens:g} in, {row.output_tokens:g} out")
        seen[key] = row.requests_per_s
    for gpu in {row.gpu for row in rows}:
        prices = {row.usd_per_hour for row in rows if row.gpu == gpu}
        if len(prices) > 1:
            raise InputError(f"{where}: {gpu} has several prices ({', '.join(f'{p:g}' for p in sorted(prices))})")
    return rows


def _check_profile(columns: Sequence[str], kind: str | None, where: str) -> None:
    if kind is not None and kind != "replica_throughput":
        raise InputError(f"{where}: kind {kind!r} is not read here; want replica_throughput")
    missing = [name for name in PROFILE_COLUMNS if name not in columns]
    if missing:
        raise InputError(f"{where}: no column {missing[0]!r}; want {', '.join(PROFILE_COLUMNS)}")


def _profile_row(row: Mapping[str, str | None], where: str) -> ProfileRow:
    kind = (row.get("kind") or "replica_throughput").strip()
    if kind != "replica_throughput":
        raise InputError(f"{where}: kind {kind!r} is not read here; want replica_throughput")
    numbers = {}
    for name in PROFILE_COLUMNS[1:]:
        text = (row.get(name) or "").strip()
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{where}: {name}: {text!r} is no number") from None
        if not 0 <= value < float("inf"):
            raise InputError(f"{where}: {name}: {text} is out of range; want 0 or more")
        numbers[name] = value
    gpu = (row.get("gpu") or "").strip()
    if not gpu:
        raise InputError(f"{where}: gpu: missing")
    return ProfileRow(gpu=gpu, **numbers)
