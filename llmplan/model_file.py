"""A model as a file of the catalog: one line for each block, nothing that is left at its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmplan.spec.model import Model

IN_ORDER = ("dtype", "kind", "count", "repeat")
"""Keys that come first in their line."""
WIDE = 10_000
"""No line of a block is broken."""
WIDEST_LIST = 90
"""Characters of a list that is written in one line."""


def model_file(model: Model, comment: str = "") -> str:
    """Return the text of `models/<name>.yaml`.

    Parameters
    ----------
    model : Model
        Any model.
    comment : str, optional
        A first line, without its sign.
    """
    document = model.model_dump(mode="json", exclude_defaults=True)
    document["weights"] = model.weights.model_dump(mode="json", exclude_defaults=True) | {"dtype": model.weights.dtype}
    ordered = {name: document[name] for name in type(model).model_fields if name in document}
    lines = [f"# {comment}"] if comment else []
    for name, value in ordered.items():
        lines += _lines(name, value)
    return "\n".join(lines) + "\n"


def _lines(name: str, value: Any) -> list[str]:
    if name in ("attention", "ffn"):
        return (
            [f"{name}:", *(f"  {key}: {in_one_line(block)}" for key, block in value.items())]
            if value
            else [f"{name}: {{}}"]
        )
    if name == "layers":
        return [f"{name}:  # runs of equal layers, in order", *(f"  - {in_one_line(entry)}" for entry in value)]
    if name == "aliases" and len(str(value)) > WIDEST_LIST:
        return [f"{name}:", *(f"  - {in_one_line(entry)}" for entry in value)]
    return [f"{name}: {in_one_line(value)}"]


def in_one_line(value: Any) -> str:
    """Return a value in one line of YAML."""
    import yaml

    text = yaml.safe_dump(_sorted(value), default_flow_style=True, sort_keys=False, width=WIDE, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _sorted(value: Any) -> Any:
    """Return a mapping with the keys first that say what it is."""
    if isinstance(value, Mapping):
        first = {key: _sorted(value[key]) for key in IN_ORDER if key in value}
        return first | {key: _sorted(inner) for key, inner in value.items() if key not in first}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value
