"""The longest context of a `config.json`, as vLLM derives it where `--max-model-len` is not given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from llmplan.spec.config_fields import MOST, Fields, as_object, shown
from llmplan.spec.config_keys import CONTEXT

ROPE = ("rope_scaling", "rope_parameters")
"""Where a file keeps the scaling of its rotary embedding: transformers 4, transformers 5."""
INCLUDED = ("su", "longrope", "llama3")
"""Kinds whose `max_position_embeddings` is the whole context already."""
MOST_FACTOR = 1e6


def longest_context(outer: Fields, text: Fields) -> int:
    """Return the tokens of the longest context.

    YaRN stretches `original_max_position_embeddings` by its factor; a linear, a dynamic or any other kind stretches
    `max_position_embeddings`. Gemma 3 and the kinds of `INCLUDED` state the stretched length. A `model_max_length`
    (Cohere) is the length before any factor.
    """
    told = "model_max_length" if text.values.get("model_max_length") is not None else None
    tokens = text.count(told) if told else text.count(*CONTEXT)
    if "gemma3" in f"{outer.text('model_type')} {text.text('model_type')}":
        return tokens
    factor = 1.0
    for scaling in _scalings(text):
        kind = scaling.text("rope_type", "type") or "default"
        if kind in INCLUDED:
            continue
        factor = _factor(scaling)
        if kind == "yarn":
            tokens = scaling.count("original_max_position_embeddings", missing=tokens)
    if tokens * factor > MOST:
        raise text.error("rope_scaling", f"stretches the context to {tokens * factor:.3g} tokens", "mend the factor")
    return int(tokens * factor)


def _scalings(text: Fields) -> Iterator[Fields]:
    """Yield the scaling of each kind of layer; most files have one for all."""
    key, value = text.get(*ROPE)
    if value is None:
        return
    values = as_object(value, f"{text.where}: {text.prefix}{key}", "its content")
    inner = [part for part in values.values() if isinstance(part, Mapping)]
    for part in inner if inner and "rope_type" not in values and "type" not in values else [values]:
        yield Fields(part, text.where, f"{text.prefix}{key}.")


def _factor(scaling: Fields) -> float:
    value: Any = scaling.values.get("factor")
    if value is None:
        return 1.0
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value <= MOST_FACTOR:
        raise scaling.error("factor", f"{shown(value)} is no factor", "give a number above 0")
    return float(value)
