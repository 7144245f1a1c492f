"""YAML as we read it: strict, small, with a line number for every complaint.

PyYAML's traps are closed: a duplicate key is an error, `NO` and `on` are text, `12:30` and `010` are text, `1e9` is a
number, anchors and aliases are refused (a few lines of them can mean gigabytes), and so are explicit tags and deep
nesting. Files that ship with llmplan are trusted to have none of these, and mostly plain enough to be read faster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from llmplan.errors import InputError
from llmplan.spec.plain_yaml import read_plain

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 40

Path = tuple[str | int, ...]

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """A safe loader with YAML 1.2 scalars and no duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a key that comes twice is an error."""
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if key in built:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is here twice; keep one", problem_mark=key_node.start_mark
                )
            built[key] = self.construct_object(value_node, deep=deep)
        return built


for _tag, _pattern, _first in (
    ("bool", r"(?:true|false|True|False)\Z", "tfTF"),
    ("null", r"(?:~|null|Null|NULL|)\Z", "~nN"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)\Z", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", "-+.0123456789"),
):
    for _letter in [*_first, *([""] if _tag == "null" else [])]:
        _Loader.yaml_implicit_resolvers.setdefault(_letter, []).append(
            (f"tag:yaml.org,2002:{_tag}", re.compile(_pattern))
        )


def _mapping(loader: Any, node: yaml.MappingNode) -> Any:
    built: dict[Any, Any] = {}
    yield built
    built.update(loader.construct_mapping(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


@dataclass(frozen=True, slots=True)
class YamlText:
    """The text of one file and what it says."""

    where: str
    """Name for messages."""
    text: str
    data: Any
    origins: Mapping[Path, str] = field(default_factory=dict)
    """Values of `data` that an option or the environment gave, and which."""

    def place(self, path: Path) -> str:
        """Return who said the value at `path`: an option, or the file with its line."""
        for given, origin in self.origins.items():
            if path[: len(given)] == given:
                return origin
        line = self.line(path)
        return f"{self.where}:{line}" if line else self.where

    def line(self, path: Path) -> int | None:
        """Return the 1-based line of the value (or the key that lacks it) at `path`."""
        try:
            node = yaml.compose(self.text, Loader=_Loader)
        except yaml.YAMLError:
            return None
        line = None
        for step in path:
            child, mark = _child(node, step)
            if child is None:
                break
            node, line = child, mark.line + 1
        return line


def _child(node: Any, step: str | int) -> tuple[Any, Any]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark
    return None, None


def read_yaml(text: str, where: str, trusted: bool = False) -> YamlText:
    """Return what a YAML (or JSON) text says.

    Raises
    ------
    InputError
        The text is too large, too deep, no YAML, or uses what is refused here; one line with file and line.
    """
    if not trusted:
        _refuse_hostile(text, where)
    plain = read_plain(text) if trusted else None
    if plain is not None:
        return YamlText(where, text, plain)
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a safe loader
    except yaml.YAMLError as error:
        raise InputError(_yaml_message(error, where)) from None
    except (RecursionError, ValueError, OverflowError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{where}: cannot be read as YAML ({error})") from None
    return YamlText(where, text, data)


def _refuse_hostile(text: str, where: str) -> None:
    if len(text) > MAX_BYTES:
        raise InputError(f"{where}: {len(text) // 2**20} MiB is too large; want at most {MAX_BYTES // 2**20} MiB")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            mark = event.start_mark
            place = f"{where}:{mark.line + 1}" if mark is not None else where
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise InputError(f"{place}: anchors and aliases are not read; write the value out")
            if getattr(event, "tag", None) is not None:
                raise InputError(f"{place}: an explicit tag is not read; write the plain value")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise InputError(f"{place}: nested deeper than {MAX_DEPTH} levels")
    except yaml.YAMLError as error:
        raise InputError(_yaml_message(error, where)) from None


def _yaml_message(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    context = getattr(error, "context", None)
    said = f"{context}, {problem}" if context else str(problem)
    if "cannot start any token" in said:
        said += " (a tab, or one of @ ` %: indent with spaces, put such text in quotes)"
    return f"{where}{line}: not valid YAML: {said}" if "twice" not in said else f"{where}{line}: {said}"


def with_values(data: Any, sets: Mapping[str, Any], where: str) -> Any:
    """Return a copy of `data` with the dotted paths of `sets` replaced (`slo.ttft`, `workload.classes[0].rate`).

    Raises
    ------
    InputError
        A path runs through something that is no mapping or list.
    """
    copy = _copied(data)
    for path, value in sets.items():
        steps = steps_of(path)
        target = copy
        for number, step in enumerate(steps[:-1]):
            following = steps[number + 1]
            if isinstance(step, str) and isinstance(target, dict) and target.get(step) is None:
                target[step] = [] if isinstance(following, int) else {}
            target = _entered(target, step, path, where)
        _entered(target, steps[-1], path, where, setting=True)
        target[steps[-1]] = value
    return copy


def _copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list) else data


def steps_of(path: str) -> Path:
    """Return the steps of a dotted path: `classes[0].rate` is ("classes", 0, "rate")."""
    return tuple(int(s) if s.isdecimal() else s for s in re.findall(r"[^.\[\]]+", path))


def _entered(target: Any, step: str | int, path: str, where: str, setting: bool = False) -> Any:
    if isinstance(target, dict) and isinstance(step, str):
        return target if setting else target[step]
    if isinstance(target, list) and isinstance(step, int) and step < len(target):
        return target if setting else target[step]
    raise InputError(f"{where}: there is nothing at {path!r} to set")


@cache
def scalar(text: str) -> Any:
    """Return what one YAML value on the command line means.

    Raises
    ------
    InputError
        The text is no YAML value.
    """
    return read_yaml(text, f"value {text!r}").data
