"""Attention of grouped heads in a `config.json`: windows, chunks, blocks, and what single families add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from llmplan.errors import InputError
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_keys import CONTEXT, FULL_EVERY, HEADS, HIDDEN, KV_HEADS, WINDOW
from llmplan.spec.config_places import CHUNKED, FULL, SLIDING, Mixers, blocks_of, layer_types, marks
from llmplan.spec.model import Gate, Gqa, Indexer, Mixer


def _gqa_layers(text: Fields, family: Family, layers: int) -> Mixers:
    """Read one kind of attention, some layers of it with a window."""
    windowed = windowed_layers(text, family, layers)
    full = gqa(text, family)
    window = text.count(*WINDOW) if any(windowed) else 0
    if not window or window >= text.count(*CONTEXT):  # none, or it never binds
        return [full] * layers
    sliding = full.model_copy(update={"window": window})
    return [sliding if is_windowed else full for is_windowed in windowed]


def windowed_layers(text: Fields, family: Family, layers: int) -> list[bool]:
    """Return which layers look back over a window only."""
    kinds = layer_types(text, layers, FULL, SLIDING)
    if kinds is not None:
        return [kind == SLIDING for kind in kinds]
    if family.window == "none" or text.get(*WINDOW)[1] is None:
        return [False] * layers
    if family.window == "pattern":
        every = text.count(*FULL_EVERY, missing=family.full_every)
        return [(layer + 1) % every != 0 for layer in range(layers)]
    if family.window == "switched":
        first = text.whole("max_window_layers") if text.flag("use_sliding_window") else layers
        return [layer >= first for layer in range(layers)]
    return [True] * layers


def gqa(text: Fields, family: Family, **changes: Any) -> Gqa:
    """Return attention of grouped heads as the plain keys describe it, with some fields of it changed."""
    heads = text.count(*HEADS)
    bias = text.flag(*family.biases, missing=family.attention_bias) if family.biases else False
    gate = family.output_gate if text.flag("attn_output_gate", "attention_output_gate", missing=True) else "none"
    block = Gqa(
        kind="gqa",
        heads=heads,
        kv_heads=_kv_heads(text, family, heads),
        head_dim=_head_dim(text, family, heads),
        qkv_bias=bias or text.flag("qkv_bias", "use_qkv_bias", missing=family.qkv_bias),
        output_bias=text.flag("attention_out_bias", missing=bias and family.output_bias),
        qk_norm=_qk_norm(text, family),
        sinks=family.sinks,
        output_gate=gate,
    )
    return block.model_copy(update=changes)


def _kv_heads(text: Fields, family: Family, heads: int) -> int:
    left_out = not any(key in text.values for key in KV_HEADS)
    missing = None if left_out and family.kv_heads_needed else heads
    kv_heads = text.count(*KV_HEADS, missing=missing)
    check_shared(text, KV_HEADS[0], heads, kv_heads)
    return kv_heads


def check_shared(text: Fields, key: str, heads: int, kv_heads: int) -> None:
    """Refuse KV heads that do not divide the heads."""
    if heads % kv_heads:
        raise text.error(key, f"{heads} heads cannot share {kv_heads}", f"give a divisor of {heads}")


def _head_dim(text: Fields, family: Family, heads: int) -> int:
    hidden = text.count(*HIDDEN)
    key, given = text.get("head_dim", "kv_channels", "attention_head_dim")
    if family.head_dim_needed or given is not None:
        return text.count(key)
    if hidden % heads:
        raise text.error("head_dim", f"missing, and {heads} heads do not divide {hidden}", "give a head_dim")
    return hidden // heads


def _qk_norm(text: Fields, family: Family) -> Literal["none", "per_head", "full"]:
    if not text.flag("use_qk_norm", missing=family.use_qk_norm):
        return "none"
    named = text.text("qk_norm_type")
    if named not in (None, "per_layer", "per_head"):
        raise InputError(f"{text.where}: unknown attention kind 'qk_norm_type: {named[:40]!r}'; {NO_GUESS}")
    return "per_head" if named == "per_head" else family.qk_norm


def _llama4(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Llama 4: all but every fourth layer see their chunk only; those rotate no positions."""
    rotated = text.each_layer("no_rope_layers", layers) if text.values.get("no_rope_layers") else None
    every = text.count("no_rope_layer_interval", missing=4)
    kinds = layer_types(text, layers, FULL, CHUNKED)
    if kinds is not None:
        chunked = [kind == CHUNKED for kind in kinds]
    elif rotated:
        chunked = [mark == 1 for mark in rotated]
    else:
        chunked = [(layer + 1) % every != 0 for layer in range(layers)]
    full = gqa(text, family)
    chunk = text.count("attention_chunk_size", missing=8192)
    bound = full.model_copy(update={"window": chunk, "chunked": True})
    return [bound if is_chunked else full for is_chunked in chunked]


def _gemma4(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Gemma 4: full layers have wider, fewer heads, whose keys are values; the last layers may share KV."""
    kinds = layer_types(text, layers, FULL, SLIDING)
    if kinds is None:
        raise text.error("layer_types", "missing", "give full_attention or sliding_attention for each layer")
    sliding = gqa(text, family, window=text.count(*WINDOW))
    wide: dict[str, Any] = {"head_dim": text.count("global_head_dim", missing=sliding.head_dim)}
    if text.flag("attention_k_eq_v"):
        kv_heads = text.count("num_global_key_value_heads", missing=sliding.kv_heads)
        check_shared(text, "num_global_key_value_heads", sliding.heads, kv_heads)
        wide |= {"kv_heads": kv_heads, "k_eq_v": True}
    full = gqa(text, family, **wide)
    first_shared = layers - text.whole("num_kv_shared_layers", most=layers)
    mixers = [sliding if kind == SLIDING else full for kind in kinds]
    return [
        mixer if layer < first_shared else mixer.model_copy(update={"shares_kv": True})
        for layer, mixer in enumerate(mixers)
    ]


def _step(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Step 3.5: layers with a window may have more heads."""
    mixers = _gqa_layers(text, family, layers)
    if text.values.get("attention_other_setting") is not None:
        heads = text.within("attention_other_setting").count("num_attention_heads", missing=text.count(*HEADS))
    else:
        heads = text.count("num_sliding_attention_heads", missing=text.count(*HEADS))
    check_shared(text, KV_HEADS[0], heads, gqa(text, family).kv_heads)
    return [
        mixer.model_copy(update={"heads": heads}) if isinstance(mixer, Gqa) and mixer.window else mixer
        for mixer in mixers
    ]


def _mimo_v2(text: Fields, family: Family, layers: int) -> Mixers:
    """Read MiMo-V2: layers with a window have heads of their own, and values narrower than keys."""
    windowed = marks(text, "hybrid_layer_pattern", layers)
    value = text.count("v_head_dim", missing=text.count("head_dim"))
    full = gqa(text, family, v_head_dim=value, sinks=text.flag("add_full_attention_sink_bias"))
    heads = text.count("swa_num_attention_heads", missing=full.heads)
    kv_heads = text.count("swa_num_key_value_heads", missing=full.kv_heads)
    check_shared(text, "swa_num_key_value_heads", heads, kv_heads)
    sliding = full.model_copy(
        update={
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": text.count("swa_head_dim", missing=full.head_dim),
            "v_head_dim": text.count("swa_v_head_dim", missing=value),
            "window": text.count(*WINDOW),
            "sinks": text.flag("add_swa_attention_sink_bias"),
        }
    )
    return [sliding if mark else full for mark in windowed]


def _block_sparse(text: Fields, family: Family, layers: int) -> Mixers:
    """Read MiniMax-M3: an indexer chooses whole blocks of tokens, in the layers marked 1."""
    full = gqa(text, family)
    if text.values.get("sparse_attention_config") is None:
        return [full] * layers
    given = text.within("sparse_attention_config")
    if not given.flag("use_sparse_attention", missing=True):
        return [full] * layers
    indexer = Indexer(heads=given.count("sparse_num_index_heads"), head_dim=given.count("sparse_index_dim"))
    most = given.count("sparse_topk_blocks") * given.count("sparse_block_size")
    sparse = full.model_copy(update={"sparse_tokens": most, "indexer": indexer})
    return [sparse if mark else full for mark in marks(given, "sparse_attention_freq", layers)]


def _falcon(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Falcon: one KV head for all, unless the newer architecture counts them."""
    newer = text.flag("new_decoder_architecture")
    if newer or not text.flag("multi_query", missing=True):
        return _gqa_layers(text, family, layers)
    return [gqa(Fields({**text.values, "num_kv_heads": 1}, text.where, text.prefix), family)] * layers


def _laguna(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Laguna: each layer may have its own number of heads, and a gate on each head or element."""
    gates: dict[object, Gate] = {True: "head", "per-head": "head", "per-element": "element"}
    named = text.values.get("gating", True)
    if not isinstance(named, str | bool) or named not in gates:
        raise InputError(f"{text.where}: unknown attention kind {shown(named)} (gating); {NO_GUESS}")
    found: list[Mixer] = []
    each = text.each_layer("num_attention_heads_per_layer", layers) or [text.count(*HEADS)] * layers
    for heads, windowed in zip(each, windowed_layers(text, family, layers), strict=True):
        own = Fields({**text.values, HEADS[0]: heads}, text.where, text.prefix)
        window = text.count(*WINDOW) if windowed else None
        found.append(gqa(own, family, output_gate=gates[named], window=window))
    return found


def _dbrx(text: Fields, family: Family, layers: int) -> Mixers:
    kv_heads = text.within("attn_config").count("kv_n_heads") if "attn_config" in text.values else 1
    return [gqa(Fields({**text.values, "num_key_value_heads": kv_heads}, text.where, text.prefix), family)] * layers


def _mpt(text: Fields, family: Family, layers: int) -> Mixers:
    """Read MPT: what is not plain about its attention stands in an object of its own."""
    given = text.within("attn_config") if text.values.get("attn_config") is not None else text
    for key in ("qk_ln", "qk_gn", "sliding_window_size"):
        if given.values.get(key) not in (None, False, -1):
            raise InputError(f"{text.where}: unknown attention kind {key!r}; {NO_GUESS}")
    kv_heads = given.count("kv_n_heads", missing=text.count(*HEADS))
    return [gqa(Fields({**text.values, "num_key_value_heads": kv_heads}, text.where, text.prefix), family)] * layers


def _chatglm(text: Fields, family: Family, layers: int) -> Mixers:
    groups = text.count("multi_query_group_num") if text.flag("multi_query_attention") else text.count(*HEADS)
    return [gqa(Fields({**text.values, "num_key_value_heads": groups}, text.where, text.prefix), family)] * layers


def _nas(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Nemotron-NAS: each layer has its own number of KV heads, or no attention."""
    found: list[Mixer | None] = []
    for block in blocks_of(text, "attention", layers):
        if block.flag("no_op"):
            found.append(None)
            continue
        heads, group = text.count(*HEADS), block.count("n_heads_in_group")
        check_shared(block, "n_heads_in_group", heads, group)
        found.append(gqa(Fields({**text.values, "num_key_value_heads": heads // group}, text.where), family))
    return found


READERS: dict[str, Callable[[Fields, Family, int], Mixers]] = {
    "gqa": _gqa_layers,
    "llama4": _llama4,
    "gemma4": _gemma4,
    "step": _step,
    "mimo-v2": _mimo_v2,
    "block-sparse": _block_sparse,
    "falcon": _falcon,
    "laguna": _laguna,
    "dbrx": _dbrx,
    "mpt": _mpt,
    "chatglm": _chatglm,
    "nas": _nas,
}
"""The readers of this module, by `Family.mixers`."""
