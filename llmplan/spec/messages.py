"""What pydantic found wrong, in our words: file, line, dotted key, what is wrong, what would be right."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from llmplan.errors import InputError, near
from llmplan.spec.yaml_files import YamlText

S = TypeVar("S", bound=BaseModel)
Path = tuple[str | int, ...]


def read_as(model: type[S], raw: YamlText, base_units: bool = False) -> S:
    """Return `raw` as a `model`.

    Parameters
    ----------
    base_units : bool
        The file was written by llmplan: quantities are plain numbers in base units.

    Raises
    ------
    InputError
        One line: file, line and key of the first thing that is wrong, and what would be right.
    """
    if not isinstance(raw.data, Mapping):
        found = "nothing" if raw.data is None else type(raw.data).__name__
        raise InputError(f"{raw.where}: holds {found}; want keys and values (llmplan schema)")
    try:
        return model.model_validate(raw.data, context={"base_units": base_units})
    except ValidationError as error:
        raise InputError(explain(error, model, raw)) from None


def explain(error: ValidationError, model: type[BaseModel], raw: YamlText) -> str:
    """Return the first complaint of `error` as one line."""
    first = min(error.errors(include_url=False, include_context=True), key=_urgency)
    path = _real_path(first["loc"], raw.data)
    missing = first["type"] == "missing"
    line = raw.line(path[:-1] if missing else path)
    key = dotted(path)
    where = f"{raw.where}:{line}" if line else raw.where
    more = len({e["loc"][: len(path)] for e in error.errors()}) - 1
    tail = f" (and {more} more)" if more > 0 else ""
    return f"{where}: {key + ': ' if key else ''}{_said(first, model, path)}{tail}"


def dotted(path: Path) -> str:
    """Return a path as people write it: `offers.gpus[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _urgency(error: Any) -> int:
    return {"extra_forbidden": 0, "missing": 2}.get(error["type"], 1)


def _real_path(loc: Path, data: Any) -> Path:
    """Drop the steps that pydantic adds for unions and function validators."""
    real: list[str | int] = []
    node: Any = data
    for number, step in enumerate(loc):
        if (isinstance(node, Mapping) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]  # type: ignore[index]
            real.append(step)
        elif number == len(loc) - 1 and isinstance(node, Mapping):
            real.append(step)
    return tuple(real)


def _said(error: Any, model: type[BaseModel], path: Path) -> str:
    kind, value = error["type"], error.get("input")
    context = error.get("ctx", {})
    shown = _shown(value)
    if kind == "extra_forbidden":
        return f"no such field; {near(str(path[-1]), field_names(model, path[:-1])) or 'leave it out'}"
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind in ("literal_error", "enum"):
        names = [n.strip(" '\"") for n in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        return f"{shown} is not known here; {near(str(value), names) or 'want ' + ', '.join(names)}"
    if kind.startswith("union_tag"):
        return f"unknown kind; want one of {context.get('expected_tags', 'the kinds in llmplan schema')}"
    wanted = {
        "greater_than_equal": f"want {context.get('ge')} or more",
        "greater_than": f"want more than {context.get('gt')}",
        "less_than_equal": f"want {context.get('le')} or less",
        "less_than": f"want less than {context.get('lt')}",
        "too_short": f"want {context.get('min_length')} or more entries",
    }.get(kind)
    if wanted:
        return f"{shown} is out of range; {wanted}"
    return f"{shown} does not fit; {_lowered(error['msg'])}"


def _lowered(text: str) -> str:
    return text.replace("Input should be", "want").replace("a valid ", "a ").rstrip(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_names(model: Any, path: Path) -> list[str]:
    """Return the keys that may stand at `path` inside `model`, short names first."""
    models = [model]
    for step in path:
        models = [inner for m in models for inner in _models_below(m, step)]
    names: list[str] = []
    for one in models:
        for name, field in one.model_fields.items():
            names.append(field.alias or name)
    return names


def _models_below(model: type[BaseModel], step: str | int) -> list[type[BaseModel]]:
    if isinstance(step, int):
        return [model]
    for name, field in model.model_fields.items():
        if step in (name, field.alias):
            return _models_in(field.annotation)
    return [model]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType) or get_args(annotation):
        return [m for inner in get_args(annotation) for m in _models_in(inner)]
    return []
