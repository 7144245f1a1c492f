"""Attention over latents and compressed entries in a `config.json`, with the indexers that choose among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmplan.errors import InputError
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_heads import windowed_layers
from llmplan.spec.config_keys import HEADS, HIDDEN, KV_HEADS, WINDOW
from llmplan.spec.config_places import Mixers
from llmplan.spec.model import Compressed, Indexer, Mixer, Mla


def _mla_layers(text: Fields, family: Family, layers: int) -> Mixers:
    if any(windowed_layers(text, family, layers)):
        raise InputError(f"{text.where}: unknown attention kind 'mla with a sliding window'; {NO_GUESS}")
    return [mla(text)] * layers


def mla(text: Fields, **changes: Any) -> Mla:
    """Return latent attention as the plain keys describe it, with some fields of it changed."""
    q_lora_rank = None if text.values.get("q_lora_rank") is None else text.count("q_lora_rank")
    heads = text.count(*HEADS)
    if text.count(*KV_HEADS, missing=heads) != heads:
        raise InputError(f"{text.where}: unknown attention kind 'mla with grouped keys'; {NO_GUESS}")
    block = Mla(
        kind="mla",
        heads=heads,
        q_lora_rank=q_lora_rank,
        kv_lora_rank=text.count("kv_lora_rank"),
        qk_nope_head_dim=text.count("qk_nope_head_dim"),
        qk_rope_head_dim=text.count("qk_rope_head_dim"),
        v_head_dim=text.count("v_head_dim", missing=text.count(*HIDDEN) // heads),
    )
    return block.model_copy(update=changes)


def _indexed_mla(text: Fields, family: Family, layers: int) -> Mixers:
    """Read DeepSeek sparse attention: an indexer a layer, or (GLM-5.2) one that some layers share."""
    kinds = text.each_layer("indexer_types", layers) or ["full"] * layers
    for kind in kinds:
        if kind not in ("full", "shared"):
            raise InputError(f"{text.where}: unknown attention kind {shown(kind)} (indexer_types); {NO_GUESS}")
    sharing = mla(text, sparse_tokens=text.count("index_topk"))
    own = sharing.model_copy(update={"indexer": _indexer(text)})
    return [own if kind == "full" else sharing for kind in kinds]


def _indexer(text: Fields) -> Indexer:
    return Indexer(heads=text.count("index_n_heads"), head_dim=text.count("index_head_dim"))


def _compressed(text: Fields, family: Family, layers: int) -> Mixers:
    """Read DeepSeek-V4: a window everywhere, and entries of 4 tokens (chosen by an indexer) or 128 (all read)."""
    ratios = text.values.get("compress_ratios")
    if not isinstance(ratios, list) or len(ratios) < layers or any(type(r) is not int or r < 0 for r in ratios):
        raise text.error("compress_ratios", f"{shown(ratios)} for {layers} layers", "give a whole number for each")
    if text.count(*KV_HEADS, missing=1) != 1:
        raise InputError(f"{text.where}: unknown attention kind 'compressed keys of several heads'; {NO_GUESS}")
    plain = Compressed(
        kind="compressed",
        heads=text.count(*HEADS),
        head_dim=text.count("head_dim"),
        q_lora_rank=text.count("q_lora_rank"),
        output_groups=text.count("o_groups"),
        output_lora_rank=text.count("o_lora_rank"),
        window=text.count(*WINDOW),
    )
    chosen = {"indexer": _indexer(text), "sparse_tokens": 4 * text.count("index_topk")}
    found: list[Mixer] = []
    for ratio in ratios[:layers]:  # one more is of the MTP layer
        entries = {"compress_ratio": ratio, **(chosen if ratio == 4 else {})}
        found.append(plain.model_copy(update=entries) if ratio else plain)
    return found


READERS: dict[str, Callable[[Fields, Family, int], Mixers]] = {
    "mla": _mla_layers,
    "indexed-mla": _indexed_mla,
    "compressed": _compressed,
}
"""The readers of this module, by `Family.mixers`."""
