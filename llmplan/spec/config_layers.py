"""The layers that a `config.json` describes: attention, window, experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from llmplan.errors import InputError
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_keys import EXPERTS, SHARED, TOP_K, WINDOW, Family
from llmplan.spec.model import Ffn, Gqa, LayerRun, Mla, Moe

MOST_LAYERS = 1_000


@dataclass(frozen=True, slots=True)
class Stack:
    """The blocks of a model, and for each layer the names of its two."""

    attention: Mapping[str, Gqa | Mla]
    ffn: Mapping[str, Ffn | Moe]
    layers: Sequence[tuple[str, str]]

    @classmethod
    def read(cls, text: Fields, family: Family) -> Stack:
        """Return the blocks that `text` describes, in an architecture of `family`."""
        count = text.count("num_hidden_layers", most=MOST_LAYERS)
        attention_names, window = _windows(text, family, count)
        sparse = _sparse_layers(text, count) if family.expert_width else [False] * count
        if family.expert_width and not any(sparse):
            raise InputError(f"{text.where}: unknown expert kind 'experts in no layer'; {NO_GUESS}")
        ffn_names = ["moe" if is_sparse else "dense" for is_sparse in sparse]
        attention: dict[str, Gqa | Mla] = {}
        for kind in sorted(set(attention_names)):
            attention[kind] = _mla(text) if kind == "mla" else _gqa(text, family, window, kind)
        ffn: dict[str, Ffn | Moe] = {}
        for kind in sorted(set(ffn_names)):
            ffn[kind] = _moe(text, family) if kind == "moe" else _dense(text)
        return cls(attention, ffn, list(zip(attention_names, ffn_names, strict=True)))

    def runs(self) -> tuple[LayerRun, ...]:
        """Return the layers as runs of equal ones."""
        return tuple(
            LayerRun(count=len(list(equal)), attention=attention, ffn=ffn)
            for (attention, ffn), equal in groupby(self.layers)
        )


def _windows(text: Fields, family: Family, layers: int) -> tuple[list[str], int | None]:
    """Return the name of each layer's attention, and the window of those called `window`."""
    full = "mla" if family.latent else "full"
    windowed = _windowed_layers(text, family, layers)
    if not any(windowed):
        return [full] * layers, None
    if family.latent:
        raise InputError(f"{text.where}: unknown attention kind 'mla with a sliding window'; {NO_GUESS}")
    window = text.count(*WINDOW)
    if window >= text.count("max_position_embeddings"):  # it never binds
        return [full] * layers, None
    return ["window" if is_windowed else full for is_windowed in windowed], window


def _windowed_layers(text: Fields, family: Family, layers: int) -> list[bool]:
    kinds = text.each_layer("layer_types", layers)
    if kinds is not None:
        for kind in kinds:
            if kind not in ("full_attention", "sliding_attention"):
                raise InputError(f"{text.where}: unknown attention kind {shown(kind)}; {NO_GUESS}")
        return [kind == "sliding_attention" for kind in kinds]
    if family.window == "none" or text.get(*WINDOW)[1] is None:
        return [False] * layers
    if family.window == "pattern":
        every = text.count("sliding_window_pattern", "_sliding_window_pattern", missing=family.full_every)
        return [(layer + 1) % every != 0 for layer in range(layers)]
    if family.window == "switched":
        first = text.whole("max_window_layers") if text.flag("use_sliding_window") else layers
        return [layer >= first for layer in range(layers)]
    return [True] * layers


def _gqa(text: Fields, family: Family, window: int | None, kind: str) -> Gqa:
    heads = text.count("num_attention_heads")
    kv_heads = _kv_heads(text, family, heads)
    bias = text.flag("attention_bias", "bias", missing=family.attention_bias)
    return Gqa(
        kind="gqa",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=_head_dim(text, family, heads),
        window=window if kind == "window" else None,
        qkv_bias=bias or family.qkv_bias or text.flag("qkv_bias"),
        output_bias=bias and family.output_bias,
        qk_norm=_qk_norm(text, family),
        sinks=family.sinks,
    )


def _kv_heads(text: Fields, family: Family, heads: int) -> int:
    left_out = "num_key_value_heads" not in text.values
    missing = None if left_out and family.kv_heads_needed else heads
    kv_heads = text.count("num_key_value_heads", missing=missing)
    if heads % kv_heads:
        raise text.error("num_key_value_heads", f"{heads} heads cannot share {kv_heads}", f"give a divisor of {heads}")
    return kv_heads


def _head_dim(text: Fields, family: Family, heads: int) -> int:
    hidden = text.count("hidden_size")
    if family.head_dim_needed or text.values.get("head_dim") is not None:
        return text.count("head_dim")
    if hidden % heads:
        raise text.error("head_dim", f"missing, and {heads} heads do not divide {hidden}", "give a head_dim")
    return hidden // heads


def _qk_norm(text: Fields, family: Family) -> Literal["none", "per_head", "full"]:
    if not text.flag("use_qk_norm", missing=family.use_qk_norm):
        return "none"
    named = text.text("qk_norm_type")
    if named not in (None, "per_layer"):
        raise InputError(f"{text.where}: unknown attention kind 'qk_norm_type: {named[:40]!r}'; {NO_GUESS}")
    return family.qk_norm


def _mla(text: Fields) -> Mla:
    q_lora_rank = None if text.values.get("q_lora_rank") is None else text.count("q_lora_rank")
    heads = text.count("num_attention_heads")
    if text.count("num_key_value_heads", missing=heads) != heads:
        raise InputError(f"{text.where}: unknown attention kind 'mla with grouped keys'; {NO_GUESS}")
    return Mla(
        kind="mla",
        heads=heads,
        q_lora_rank=q_lora_rank,
        kv_lora_rank=text.count("kv_lora_rank"),
        qk_nope_head_dim=text.count("qk_nope_head_dim"),
        qk_rope_head_dim=text.count("qk_rope_head_dim"),
        v_head_dim=text.count("v_head_dim"),
    )


def _dense(text: Fields) -> Ffn:
    return Ffn(kind="gated", intermediate_size=text.count("intermediate_size"), bias=text.flag("mlp_bias"))


def _moe(text: Fields, family: Family) -> Moe:
    experts = text.count(*EXPERTS)
    top_k = text.count(*TOP_K)
    if top_k > experts:
        key = text.get(*TOP_K)[0]
        raise text.error(key, f"{top_k} of {experts} experts", f"give {experts} or fewer")
    if text.flag("mlp_bias"):
        raise InputError(f"{text.where}: unknown expert kind 'mlp_bias'; {NO_GUESS}")
    return Moe(
        kind="moe",
        experts=experts,
        experts_per_token=top_k,
        intermediate_size=text.count(family.expert_width),
        shared_experts=text.whole(*SHARED),
        router_bias=_router_bias(text, family),
        expert_bias=family.expert_bias,
    )


def _router_bias(text: Fields, family: Family) -> bool:
    method = text.text("topk_method")
    if method is not None:
        return method == "noaux_tc"
    return text.flag("use_routing_bias", missing=family.router_bias)


def _sparse_layers(text: Fields, layers: int) -> list[bool]:
    """Return which layers hold experts: every layer unless one of five keys says otherwise."""
    kinds = text.each_layer("mlp_layer_types", layers)
    if kinds is not None:
        for kind in kinds:
            if kind not in ("dense", "sparse"):
                raise InputError(f"{text.where}: unknown expert kind {shown(kind)}; {NO_GUESS}")
        return [kind == "sparse" for kind in kinds]
    first = text.whole("first_k_dense_replace")
    step = text.count("decoder_sparse_step", missing=1)
    dense = _dense_layers(text)
    frequent = _frequent(text, layers)
    return [
        layer >= first and frequent[layer] and (layer + 1) % step == 0 and layer not in dense for layer in range(layers)
    ]


def _frequent(text: Fields, layers: int) -> list[bool]:
    """Read `moe_layer_freq`: one layer in so many, or a 0 or 1 for each."""
    if not isinstance(text.values.get("moe_layer_freq"), list):
        every = text.count("moe_layer_freq", missing=1)
        return [layer % every == 0 for layer in range(layers)]
    marks = text.each_layer("moe_layer_freq", layers) or []
    if any(type(mark) is not int or mark not in (0, 1) for mark in marks):
        raise text.error("moe_layer_freq", "not all items are 0 or 1", "give 1 for each layer with experts")
    return [mark == 1 for mark in marks]


def _dense_layers(text: Fields) -> set[int]:
    value = text.values.get("mlp_only_layers")
    if value is None:
        return set()
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise text.error("mlp_only_layers", f"{shown(value)} is no list of layers", "give whole numbers")
    return set(value)
