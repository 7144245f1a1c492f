"""What pydantic found wrong, in our words: file, line, dotted key, what is wrong, what would be right."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from llmplan.errors import InputError, near
from llmplan.spec.yaml_files import Path, YamlText

S = TypeVar("S", bound=BaseModel)

FORMS = (
    (("model_type", "model_attributes_type", "dict_type", "mapping_type"), "keys and values"),
    (("tuple_type", "list_type", "frozen_set_type", "set_type"), "a list"),
    (("string_type",), "text"),
    (("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    (("float_type", "float_parsing", "finite_number"), "a number"),
    (("bool_type", "bool_parsing"), "true or false"),
    (("date_type", "date_parsing", "date_from_datetime_parsing"), "a day such as 2026-01-31"),
)
"""What a field wants, by the kinds of complaint that pydantic has about it."""


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
        found = {type(None): "nothing", list: "a list", str: "plain text"}.get(type(raw.data), "a single value")
        raise InputError(f"{raw.where}: holds {found}; want keys and values (llmplan schema)")
    try:
        return model.model_validate(raw.data, context={"base_units": base_units})
    except ValidationError as error:
        raise InputError(explain(error, model, raw)) from None


def explain(error: ValidationError, model: type[BaseModel], raw: YamlText) -> str:
    """Return the first complaint of `error` as one line."""
    first = min(error.errors(include_url=False, include_context=True), key=_urgency)
    path = _real_path(first["loc"], raw.data, keep_last=first["type"] in ("missing", "invalid_key"))
    if first["type"] == "invalid_key":
        path = path[:-1]
    where = raw.place(path[:-1] if first["type"] == "missing" and path not in raw.origins else path)
    key = dotted(path)
    more = len({e["loc"][: len(path)] for e in error.errors()}) - 1
    tail = f" (and {more} more)" if more > 0 else ""
    tail += "".join(f" (with {o})" for given, o in raw.origins.items() if given[: len(path)] == path != given)
    return f"{where}: {key + ': ' if key else ''}{_said(first, model, path)}{tail}"


def complaint(error: ValidationError) -> str:
    """Return the first complaint of `error` about a value that stands alone."""
    return _said(error.errors(include_url=False, include_context=True)[0], BaseModel, ())


def dotted(path: Path) -> str:
    """Return a path as people write it: `offers.gpus[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _urgency(error: Any) -> int:
    return {"extra_forbidden": 0, "missing": 2}.get(error["type"], 1)


def _real_path(loc: Path, data: Any, keep_last: bool) -> Path:
    """Drop the steps that pydantic adds for unions and function validators; the last may name what is not there."""
    real: list[str | int] = []
    node: Any = data
    for number, step in enumerate(loc):
        if (isinstance(node, Mapping) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            node = node[step]  # type: ignore[index]
            real.append(step)
        elif keep_last and number == len(loc) - 1 and isinstance(node, Mapping | list):
            real.append(step)
    return tuple(real)


def _said(error: Any, model: type[BaseModel], path: Path) -> str:
    kind, value = error["type"], error.get("input")
    context = error.get("ctx", {})
    shown = _shown(value)
    if kind == "extra_forbidden":
        return f"no such field; {near(str(path[-1]), field_names(model, path[:-1])) or 'leave it out'}"
    if kind == "missing":
        return "missing; llmplan schema shows what belongs here"
    if kind == "invalid_key":
        return f"{shown} is no key; a key must be text"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind in ("literal_error", "enum"):
        names = [n.strip(" '\"") for n in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        return f"{shown} is not known here; {near(str(value), names) or 'want ' + ', '.join(names)}"
    if kind.startswith("union_tag"):
        return f"unknown kind; want one of {context.get('expected_tags', 'the kinds in llmplan schema')}"
    wanted = {
        "greater_than_equal": f"want {_plain(context.get('ge'))} or more",
        "greater_than": f"want more than {_plain(context.get('gt'))}",
        "less_than_equal": f"want {_plain(context.get('le'))} or less",
        "less_than": f"want less than {_plain(context.get('lt'))}",
        "too_short": f"want {context.get('min_length')} or more entries",
    }.get(kind)
    if wanted:
        return f"{shown} is out of range; {wanted}"
    form = next((f"want {form}" for kinds, form in FORMS if kind in kinds), _lowered(error["msg"]))
    return f"{shown} does not fit; {form}"


def _lowered(text: str) -> str:
    return text.replace("Input should be", "want").replace("a valid ", "a ").rstrip(".")


def _plain(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
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
