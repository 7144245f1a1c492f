"""Which layer is of which kind: the lists and patterns of a `config.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmplan.errors import InputError
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_keys import LAYERS
from llmplan.spec.model import Mixer

Mixers = Sequence[Mixer | None]

MOST_LAYERS = 1_000
LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
"""Letters of `hybrid_override_pattern`, by the kind of layer."""
ALSO = {"full_attention": "attention", "linear_attention": "mamba"}
"""What transformers calls some kinds of `layers_block_type`."""
FULL, SLIDING, CHUNKED, LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"


def layer_count(text: Fields) -> int:
    """Return how many layers a file describes."""
    kinds = layer_kinds(text)
    return len(kinds) if kinds else text.count(*LAYERS, most=MOST_LAYERS)


def layer_kinds(text: Fields) -> list[str]:
    """Return the kind of each layer where every layer has one block (Nemotron-H); else nothing."""
    pattern = text.text("hybrid_override_pattern")
    if pattern is not None:
        kinds = [LETTERS.get(letter, letter) for letter in pattern]
        key = "hybrid_override_pattern"
    else:
        key = "layers_block_type"
        kinds = [ALSO.get(kind, kind) for kind in text.texts(key)]
    if len(kinds) > MOST_LAYERS:
        raise text.error(key, f"{len(kinds)} layers", f"give {MOST_LAYERS} or fewer")
    for kind in kinds:
        if kind not in LETTERS.values():
            raise InputError(f"{text.where}: unknown block kind {shown(kind)} ({key}); {NO_GUESS}")
    return kinds


def layer_types(text: Fields, layers: int, *known: str) -> list[Any] | None:
    """Return `layer_types`, or None where there is none; one that is not `known` is an error."""
    kinds = text.each_layer("layer_types", layers)
    for kind in kinds or ():
        if kind not in known:
            raise InputError(f"{text.where}: unknown attention kind {shown(kind)}; {NO_GUESS}")
    return kinds


def marks(text: Fields, key: str, layers: int) -> list[bool]:
    """Return a 0 or 1 for each layer as truths."""
    marks = text.each_layer(key, layers)
    if marks is None:
        raise text.error(key, "missing", "give 0 or 1 for each layer")
    if any(type(mark) is not int or mark not in (0, 1) for mark in marks):
        raise text.error(key, "not all items are 0 or 1", "give 0 or 1 for each layer")
    return [mark == 1 for mark in marks]


def blocks_of(text: Fields, part: str, layers: int) -> list[Fields]:
    """Return one part of each entry of `block_configs`; one replaced by a linear layer is an error."""
    found = []
    for entry in text.each_layer("block_configs", layers) or []:
        fields = Fields({"block": entry}, text.where, "block_configs.").within("block").within(part)
        for key in ("replace_with_linear", "sparsify", "window_length"):
            if fields.values.get(key):
                raise InputError(f"{text.where}: unknown block kind {shown(key)} (block_configs); {NO_GUESS}")
        found.append(fields)
    if not found:
        raise text.error("block_configs", "missing", "give an entry for each layer")
    return found
