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
from typing import Any, NamedTuple

from llmplan.errors import InputError, near
from llmplan.spec.catalog import Catalog
from llmplan.spec.config_json import model_from_config
from llmplan.spec.messages import field_names, read_as
from llmplan.spec.model import Model
from llmplan.spec.plan import Answer
from llmplan.spec.workload import Fleet, Workload, WorkloadFile
from llmplan.spec.yaml_files import MAX_BYTES, YamlText, read_yaml, scalar, steps_of, with_values
from llmplan.spec.yaml_files import Path as Steps

ENVIRONMENT = "LLMPLAN_"
RESERVED = frozenset({"LLMPLAN_CATALOG", "LLMPLAN_CURRENCY", "LLMPLAN_TODAY"})
"""Variables that are no field of a workload."""
DEFAULT_WORKLOAD = "llmplan.yaml"
CONFIG_NAME = "config.json"
"""The file that describes a model in its folder."""


class Sort(NamedTuple):
    """What kind of file is wanted, for who names one that is not there."""

    suffixes: tuple[str, ...]
    advice: str
    """When none has a name that is near."""


QUESTION = Sort((".yaml", ".yml", ".json", ".csv"), "give a workload file (llmplan schema workload)")
TABLE = Sort((".csv", ".csv.gz"), "give a CSV")
CONFIG = Sort((".json",), "give a model's config.json, or the folder that holds it")


def read_text(name: str, most_bytes: int = MAX_BYTES, sort: Sort = QUESTION) -> tuple[str, str]:
    """Return (text, where) of a file; `-` is standard input, `.gz` is unpacked.

    Raises
    ------
    InputError
        The file is missing, unreadable, no text, or too large.
    """
    if name == "-":
        return _decoded(sys.stdin.buffer.read(most_bytes + 1), "standard input", most_bytes), "standard input"
    path = Path(name)
    try:
        with path.open("rb") as plain, gzip.GzipFile(fileobj=plain) if name.endswith(".gz") else plain as file:
            raw = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; {_beside(path, sort)}") from None
    except IsADirectoryError:
        raise InputError(f"{name or repr(name)}: is a folder; want a file") from None
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return _decoded(raw, name, most_bytes), name


def _decoded(raw: bytes, where: str, most_bytes: int) -> str:
    if len(raw) > most_bytes:
        raise InputError(f"{where}: more than {most_bytes // 2**20} MiB; want a smaller file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is no UTF-8 text (byte {error.start}); want YAML, JSON or CSV") from None
    if "\0" in text:
        raise InputError(f"{where}: is no text; want YAML, JSON or CSV")
    return text


def _beside(path: Path, sort: Sort) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.name.endswith(sort.suffixes)]
    except OSError:
        return "its folder does not exist"
    return near(path.name, names) or sort.advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as it was read: a fleet, or an answer that llmplan wrote; and where values came from."""

    fleet: Fleet
    answer: Answer | None
    raw: YamlText
    where: str
    origins: Mapping[str, str]

    def place(self, path: Steps) -> str:
        """Return who said the value at `path` of the workload or its fleet: an option, or the file with its line."""
        within: Steps = () if self.answer is None else ("plan", "fleet")
        own = path[0] in Workload.model_fields or path[0] == "workload"
        if own and (within or "workloads" in self.raw.data):
            within = (*within, "workloads", 0)
        return self.raw.place((*within, *path))


def read_question(name: str, sets: Sequence[str] = (), options: Mapping[str, tuple[str, Any]] | None = None) -> Asked:
    """Return what a workload, fleet or plan file asks, with options, `--set` and the environment applied.

    Parameters
    ----------
    sets : sequence of str
        PATH=VALUE, the value as YAML.
    options : mapping, optional
        By path: the option that sets it, as people typed it, and its value.

    Raises
    ------
    InputError
        One line: file, line, key, what is wrong, what would be right.
    """
    text, where = read_text(name)
    raw = read_yaml(text, where)
    if isinstance(raw.data, Mapping) and ("schema_version" in raw.data or {"kind", "plan"} <= raw.data.keys()):
        given = [f"--set {text}" for text in sets] + [said for said, _ in (options or {}).values()]
        return _read_answer(raw, given)
    overrides = _overrides(sets, options or {})
    raw = _overridden(raw, overrides)
    origins = {path: one.origin for path, one in overrides.items()}
    if isinstance(raw.data, Mapping) and "workloads" in raw.data:
        fleet = read_as(Fleet, raw)
    else:
        fleet = read_as(WorkloadFile, raw).fleet()
    return Asked(fleet=fleet, answer=None, raw=raw, where=where, origins=origins)


def _read_answer(raw: YamlText, given: Sequence[str]) -> Asked:
    if given:
        raise InputError(f"{raw.where}: {given[0]} changes a workload, and this is a plan; give the workload file")
    version = raw.data.get("schema_version")
    if version != 1:
        place = raw.place(("schema_version",))
        raise InputError(f"{place}: schema_version {version!r} is not read by this version; want 1")
    answer = read_as(Answer, raw, base_units=True)
    if answer.plan is None:
        raise InputError(f"{raw.where}: holds the answer '{answer.status}' and no plan; give a plan or a workload")
    return Asked(fleet=answer.plan.fleet, answer=answer, raw=raw, where=raw.where, origins={})


@dataclass(frozen=True, slots=True)
class Override:
    """A value from outside the file."""

    value: Any
    origin: str
    """For the answer: `--set`, `environment LLMPLAN_…`."""
    shown: str
    """For messages: with the value, as people typed it."""


def _overrides(sets: Sequence[str], options: Mapping[str, tuple[str, Any]]) -> dict[str, Override]:
    """Return values by dotted path: options over `--set` over the environment."""
    found: dict[str, Override] = {}
    for key in sorted(os.environ):
        if key.startswith(ENVIRONMENT) and key not in RESERVED:
            path = key.removeprefix(ENVIRONMENT).lower().replace("__", ".")
            found[path] = Override(_value(os.environ[key], f"environment {key}"), f"environment {key}", f"{key}")
    for text in sets:
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            raise InputError(f"--set {text}: want PATH=VALUE such as slo.ttft='500 ms p95'")
        found[path.strip()] = Override(_value(value, f"--set {text}"), "--set", f"--set {text}")
    for path, (shown, value) in options.items():
        found[path] = Override(value, shown.split()[0], shown)
    return found


def _value(text: str, shown: str) -> Any:
    try:
        return scalar(text)
    except InputError as error:
        why = str(error).removeprefix(f"value {text!r}").lstrip(":0123456789 ")
        raise InputError(f"{shown}: {why}") from None


def _overridden(raw: YamlText, overrides: Mapping[str, Override]) -> YamlText:
    """Return the text with values from outside in it.

    Raises
    ------
    InputError
        A path whose first name is no field (the nearest full path is offered), or that runs through a value.
    """
    data = raw.data if raw.data is not None or not overrides else {}
    for path, one in overrides.items():
        _check_root(path, one.shown)
        if isinstance(data, Mapping):
            data = with_values(data, {path: one.value}, one.shown)
    return YamlText(raw.where, raw.text, data, {steps_of(path): one.shown for path, one in overrides.items()})


def _check_root(path: str, shown: str) -> None:
    roots = {*field_names(WorkloadFile, ()), "workloads"}
    head = path.split(".")[0].split("[")[0]
    if head in roots:
        return
    tail = path[len(head) :]
    advice = near(head, roots) if head else ""
    full = f"did you mean {advice.removeprefix('did you mean ').rstrip('?')}{tail}?" if "did you" in advice else ""
    raise InputError(f"{shown}: no field {head!r}; {full or 'llmplan schema workload lists them'}")


def read_model(
    name: str, catalog: Catalog, beside: str | None = None, model_type: str | None = None
) -> tuple[Model, list[str]]:
    """Return a model of the catalog, or of a local config.json (or a folder that holds one), and warnings.

    Parameters
    ----------
    beside : str, optional
        File that names the model: a relative path is looked for in its folder first.
    model_type : str, optional
        The architecture of a config.json that names none.

    Raises
    ------
    LlmplanError
        Neither a catalog name nor a path, or a config.json that cannot be used.
    """
    if not name.strip():
        raise InputError("model: no name; give one of llmplan models list, or the path of a config.json")
    try:
        path = _local(name, beside)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{name}: is no path ({getattr(error, 'strerror', None) or error})") from None
    if path is None:
        return catalog.model(name), []
    if path.suffix in (".yaml", ".yml"):
        return read_as(Model, read_yaml(*read_text(str(path)))), []
    return _config(path, None, model_type)


def read_config(name: str, model_name: str | None, model_type: str | None) -> tuple[Model, list[str]]:
    """Return the model of a local config.json, or of the folder that holds one, and warnings.

    Raises
    ------
    InputError
        There is no such file, or it cannot be used.
    """
    path = Path(name).expanduser()
    return _config(path / CONFIG_NAME if path.is_dir() else path, model_name, model_type)


def _config(path: Path, name: str | None, model_type: str | None) -> tuple[Model, list[str]]:
    text, where = read_text(str(path), sort=CONFIG)
    quantization = _json(path.parent / "hf_quant_config.json")
    return model_from_config(_parsed_json(text, where), where, name, quantization, model_type)


def _local(name: str, beside: str | None) -> Path | None:
    """Return the file that a model's name means, or None for a name of the catalog."""
    path = Path(name).expanduser()
    if beside is not None and not path.is_absolute() and (Path(beside).parent / path).exists():
        path = Path(beside).parent / path
    if path.is_dir():
        return path / CONFIG_NAME
    looks_local = name.endswith((".json", ".yaml", ".yml")) or name.startswith((".", "/", "~"))
    return path if looks_local else None


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    found: Mapping[str, Any] = _parsed_json(*read_text(str(path)))
    return found


def _parsed_json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, where))
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{where}{line}: is no JSON; want the model's config.json") from None


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Return a JSON object; a key that comes twice is an error, for readers differ in which one they take."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"{where}: {key[:60]!r} is given twice; keep one")
        found[key] = value
    return found


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
    text, where = read_text(name, sort=TABLE)
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    kind = next((line.split(":", 1)[1].strip() for line in lines[:first] if line[1:].strip().startswith("kind:")), None)
    reader = csv.DictReader(io.StringIO("\n".join(lines[first:])), skipinitialspace=True, strict=True)
    try:
        _check_profile(reader.fieldnames or [], kind, where)
        rows = {f"{where}:{first + reader.line_num}": row for row in reader}
    except csv.Error as error:
        raise InputError(f"{where}:{first + reader.line_num}: is no CSV ({error})") from None
    if not rows:
        raise InputError(f"{where}: holds no rows; want {', '.join(PROFILE_COLUMNS)}")
    read = {place: _profile_row(row, place) for place, row in rows.items()}
    _check_cells(read)
    return list(read.values())


def _check_cells(rows: Mapping[str, ProfileRow]) -> None:
    """Refuse a cell that comes twice, and a GPU with several prices."""
    seen: set[tuple[str, float, float]] = set()
    prices: dict[str, float] = {}
    for place, row in rows.items():
        key = (row.gpu, row.input_tokens, row.output_tokens)
        if key in seen:
            cell = f"{row.input_tokens:g} in, {row.output_tokens:g} out"
            raise InputError(f"{place}: {row.gpu} has two rows for {cell}; keep one")
        seen.add(key)
        price = prices.setdefault(row.gpu, row.usd_per_hour)
        if price != row.usd_per_hour:
            raise InputError(
                f"{place}: usd_per_hour: {row.gpu} has several prices ({price:g}, {row.usd_per_hour:g}); want one"
            )


def _check_profile(columns: Sequence[str], kind: str | None, where: str) -> None:
    if kind is not None and kind != "replica_throughput":
        raise InputError(f"{where}: kind {kind!r} is not read here; want replica_throughput")
    missing = [name for name in PROFILE_COLUMNS if name not in columns]
    if missing:
        raise InputError(f"{where}: no column {missing[0]!r}; want {', '.join(PROFILE_COLUMNS)}")


def _profile_row(row: Mapping[str | None, Any], where: str) -> ProfileRow:
    if None in row:
        raise InputError(f"{where}: has more cells than the header; want {', '.join(PROFILE_COLUMNS)}")
    kind = (row.get("kind") or "replica_throughput").strip()
    if kind != "replica_throughput":
        raise InputError(f"{where}: kind {kind!r} is not read here; want replica_throughput")
    numbers = {}
    for name in PROFILE_COLUMNS[1:]:
        text = (row.get(name) or "").strip()
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{where}: {name}: {text!r} is no number; want one such as 2.5") from None
        least = 1 if name.endswith("_tokens") else 0
        if not least <= value < float("inf"):
            raise InputError(f"{where}: {name}: {text} is out of range; want {least} or more")
        numbers[name] = value
    gpu = (row.get("gpu") or "").strip()
    if not gpu:
        raise InputError(f"{where}: gpu: missing; want a name, yours or the catalog's")
    return ProfileRow(gpu=gpu, **numbers)
