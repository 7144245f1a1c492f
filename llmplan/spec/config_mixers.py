"""What lets tokens see each other, layer by layer, as a `config.json` describes it: attention and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from llmplan.errors import InputError
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_keys import CONTEXT, HEADS, HIDDEN, KV_HEADS, LAYERS, WINDOW, Family
from llmplan.spec.model import Compressed, Delta, Gqa, Indexer, Mamba1, Mamba2, Mixer, Mla

Mixers = Sequence[Mixer | None]
Reader = Callable[[Fields, Family, int], Mixers]

MOST_LAYERS = 1_000
LETTERS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
"""Letters of `hybrid_override_pattern`, by the kind of layer."""
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
        kinds = text.texts(key)
    if len(kinds) > MOST_LAYERS:
        raise text.error(key, f"{len(kinds)} layers", f"give {MOST_LAYERS} or fewer")
    for kind in kinds:
        if kind not in LETTERS.values():
            raise InputError(f"{text.where}: unknown block kind {shown(kind)} ({key}); {NO_GUESS}")
    return kinds


# ---- grouped heads ----


def _gqa_layers(text: Fields, family: Family, layers: int) -> Mixers:
    """Read one kind of attention, some layers of it with a window."""
    windowed = _windowed_layers(text, family, layers)
    full = _gqa(text, family)
    window = text.count(*WINDOW) if any(windowed) else 0
    if not window or window >= text.count(*CONTEXT):  # none, or it never binds
        return [full] * layers
    sliding = full.model_copy(update={"window": window})
    return [sliding if is_windowed else full for is_windowed in windowed]


def _windowed_layers(text: Fields, family: Family, layers: int) -> list[bool]:
    kinds = _layer_types(text, layers, FULL, SLIDING)
    if kinds is not None:
        return [kind == SLIDING for kind in kinds]
    if family.window == "none" or text.get(*WINDOW)[1] is None:
        return [False] * layers
    if family.window == "pattern":
        every = text.count("sliding_window_pattern", "_sliding_window_pattern", missing=family.full_every)
        return [(layer + 1) % every != 0 for layer in range(layers)]
    if family.window == "switched":
        first = text.whole("max_window_layers") if text.flag("use_sliding_window") else layers
        return [layer >= first for layer in range(layers)]
    return [True] * layers


def _layer_types(text: Fields, layers: int, *known: str) -> list[Any] | None:
    kinds = text.each_layer("layer_types", layers)
    for kind in kinds or ():
        if kind not in known:
            raise InputError(f"{text.where}: unknown attention kind {shown(kind)}; {NO_GUESS}")
    return kinds


def _gqa(text: Fields, family: Family, **changes: Any) -> Gqa:
    heads = text.count(*HEADS)
    bias = text.flag("attention_bias", "bias", "use_bias", missing=family.attention_bias)
    gate = family.output_gate if text.flag("attn_output_gate", "attention_output_gate", missing=True) else "none"
    block = Gqa(
        kind="gqa",
        heads=heads,
        kv_heads=_kv_heads(text, family, heads),
        head_dim=_head_dim(text, family, heads),
        qkv_bias=bias or family.qkv_bias or text.flag("qkv_bias", "use_qkv_bias"),
        output_bias=bias and family.output_bias,
        qk_norm=_qk_norm(text, family),
        sinks=family.sinks,
        output_gate=gate,
    )
    return block.model_copy(update=changes)


def _kv_heads(text: Fields, family: Family, heads: int) -> int:
    left_out = not any(key in text.values for key in KV_HEADS)
    missing = None if left_out and family.kv_heads_needed else heads
    kv_heads = text.count(*KV_HEADS, missing=missing)
    _check_shared(text, KV_HEADS[0], heads, kv_heads)
    return kv_heads


def _check_shared(text: Fields, key: str, heads: int, kv_heads: int) -> None:
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
    kinds = _layer_types(text, layers, FULL, CHUNKED)
    if kinds is not None:
        chunked = [kind == CHUNKED for kind in kinds]
    elif rotated:
        chunked = [mark == 1 for mark in rotated]
    else:
        chunked = [(layer + 1) % every != 0 for layer in range(layers)]
    full = _gqa(text, family)
    chunk = text.count("attention_chunk_size", missing=8192)
    bound = full.model_copy(update={"window": chunk, "chunked": True})
    return [bound if is_chunked else full for is_chunked in chunked]


def _gemma4(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Gemma 4: full layers have wider, fewer heads, whose keys are values; the last layers may share KV."""
    kinds = _layer_types(text, layers, FULL, SLIDING)
    if kinds is None:
        raise text.error("layer_types", "missing", "give full_attention or sliding_attention for each layer")
    sliding = _gqa(text, family, window=text.count(*WINDOW))
    kv_heads = text.count("num_global_key_value_heads", missing=sliding.kv_heads)
    _check_shared(text, "num_global_key_value_heads", sliding.heads, kv_heads)
    wide = {
        "head_dim": text.count("global_head_dim", missing=sliding.head_dim),
        "kv_heads": kv_heads,
        "k_eq_v": text.flag("attention_k_eq_v"),
    }
    full = _gqa(text, family, **wide)
    first_shared = layers - text.whole("num_kv_shared_layers", most=layers)
    mixers = [sliding if kind == SLIDING else full for kind in kinds]
    return [
        mixer if layer < first_shared else mixer.model_copy(update={"shares_kv": True})
        for layer, mixer in enumerate(mixers)
    ]


def _mimo_v2(text: Fields, family: Family, layers: int) -> Mixers:
    """Read MiMo-V2: layers with a window have heads of their own, and values narrower than keys."""
    marks = _marks(text, "hybrid_layer_pattern", layers)
    value = text.count("v_head_dim", missing=text.count("head_dim"))
    full = _gqa(text, family, v_head_dim=value, sinks=text.flag("add_full_attention_sink_bias"))
    heads = text.count("swa_num_attention_heads", missing=full.heads)
    kv_heads = text.count("swa_num_key_value_heads", missing=full.kv_heads)
    _check_shared(text, "swa_num_key_value_heads", heads, kv_heads)
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
    return [sliding if mark else full for mark in marks]


def _marks(text: Fields, key: str, layers: int) -> list[bool]:
    """Return a 0 or 1 for each layer as truths."""
    marks = text.each_layer(key, layers)
    if marks is None:
        raise text.error(key, "missing", "give 0 or 1 for each layer")
    if any(type(mark) is not int or mark not in (0, 1) for mark in marks):
        raise text.error(key, "not all items are 0 or 1", "give 0 or 1 for each layer")
    return [mark == 1 for mark in marks]


def _block_sparse(text: Fields, family: Family, layers: int) -> Mixers:
    """Read MiniMax-M3: an indexer chooses whole blocks of tokens, in the layers marked 1."""
    full = _gqa(text, family)
    if text.values.get("sparse_attention_config") is None:
        return [full] * layers
    given = text.within("sparse_attention_config")
    if not given.flag("use_sparse_attention", missing=True):
        return [full] * layers
    indexer = Indexer(heads=given.count("sparse_num_index_heads"), head_dim=given.count("sparse_index_dim"))
    most = given.count("sparse_topk_blocks") * given.count("sparse_block_size")
    sparse = full.model_copy(update={"sparse_tokens": most, "indexer": indexer})
    return [sparse if mark else full for mark in _marks(given, "sparse_attention_freq", layers)]


def _falcon(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Falcon: one KV head for all, unless the newer architecture counts them."""
    newer = text.flag("new_decoder_architecture")
    if newer or not text.flag("multi_query", missing=True):
        return _gqa_layers(text, family, layers)
    return [_gqa(Fields({**text.values, "num_kv_heads": 1}, text.where, text.prefix), family)] * layers


def _chatglm(text: Fields, family: Family, layers: int) -> Mixers:
    groups = text.count("multi_query_group_num") if text.flag("multi_query_attention") else text.count(*HEADS)
    return [_gqa(Fields({**text.values, "num_key_value_heads": groups}, text.where, text.prefix), family)] * layers


def _nas(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Nemotron-NAS: each layer has its own number of KV heads, or no attention."""
    found: list[Mixer | None] = []
    for block in blocks_of(text, "attention", layers):
        if block.flag("no_op"):
            found.append(None)
            continue
        heads, group = text.count(*HEADS), block.count("n_heads_in_group")
        _check_shared(block, "n_heads_in_group", heads, group)
        found.append(_gqa(Fields({**text.values, "num_key_value_heads": heads // group}, text.where), family))
    return found


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


# ---- latents ----


def _mla_layers(text: Fields, family: Family, layers: int) -> Mixers:
    if any(_windowed_layers(text, family, layers)):
        raise InputError(f"{text.where}: unknown attention kind 'mla with a sliding window'; {NO_GUESS}")
    return [_mla(text)] * layers


def _mla(text: Fields, **changes: Any) -> Mla:
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
        v_head_dim=text.count("v_head_dim"),
    )
    return block.model_copy(update=changes)


def _indexed_mla(text: Fields, family: Family, layers: int) -> Mixers:
    """Read DeepSeek sparse attention: an indexer a layer, or (GLM-5.2) one that some layers share."""
    kinds = text.each_layer("indexer_types", layers) or ["full"] * layers
    for kind in kinds:
        if kind not in ("full", "shared"):
            raise InputError(f"{text.where}: unknown attention kind {shown(kind)} (indexer_types); {NO_GUESS}")
    sharing = _mla(text, sparse_tokens=text.count("index_topk"))
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


# ---- states ----


def _gated_delta(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Qwen3-Next and Qwen3.5: one layer in a few has attention, the others keep a state."""
    kinds = _layer_types(text, layers, FULL, LINEAR)
    if kinds is None:
        every = text.count("full_attention_interval")
        kinds = [LINEAR if (layer + 1) % every else FULL for layer in range(layers)]
    full = _gqa(text, family)
    linear = Delta(
        kind="delta",
        key_heads=text.count("linear_num_key_heads"),
        value_heads=text.count("linear_num_value_heads"),
        key_head_dim=text.count("linear_key_head_dim"),
        value_head_dim=text.count("linear_value_head_dim"),
        conv_kernel=text.count("linear_conv_kernel_dim"),
        state_dtype=_state_dtype(text, "mamba_ssm_dtype"),
    )
    return [linear if kind == LINEAR else full for kind in kinds]


def _kimi_linear(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Kimi Linear: layers are numbered from 1, those with a state in `kda_layers`."""
    given = text.within("linear_attn_config") if text.values.get("linear_attn_config") is not None else None
    gate = "element" if text.flag("mla_use_output_gate") else "none"
    full = _mla(text, output_gate=gate)
    if given is None:
        return [full] * layers
    numbers = given.values.get("kda_layers")
    if not isinstance(numbers, list) or any(type(n) is not int or not 1 <= n <= layers for n in numbers):
        raise given.error("kda_layers", f"{shown(numbers)} for {layers} layers", "give the numbers of layers, from 1")
    heads, width = given.count("num_heads"), given.count("head_dim")
    linear = Delta(
        kind="delta",
        key_heads=heads,
        value_heads=heads,
        key_head_dim=width,
        value_head_dim=width,
        conv_kernel=given.count("short_conv_kernel_size"),
        decay="channel",
        low_rank_gate=not given.flag("use_full_rank_gate"),
    )
    return [linear if layer + 1 in numbers else full for layer in range(layers)]


def _nemotron_h(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Nemotron-H: each layer is attention, Mamba-2 or a feed-forward block."""
    kinds = layer_kinds(text)
    if not kinds:
        raise text.error("hybrid_override_pattern", "missing", "give a letter for each layer: M, E, * or -")
    blocks: dict[str, Mixer] = {}
    if "attention" in kinds:
        blocks["attention"] = _gqa(text, family)
    if "mamba" in kinds:
        blocks["mamba"] = Mamba2(
            kind="mamba2",
            heads=text.count("mamba_num_heads"),
            head_dim=text.count("mamba_head_dim"),
            state_size=text.count("ssm_state_size"),
            groups=text.count("n_groups"),
            conv_kernel=text.count("conv_kernel"),
            state_dtype=_state_dtype(text, "mamba_ssm_cache_dtype"),
        )
    return [blocks.get(kind) for kind in kinds]


def _mamba2(text: Fields, family: Family, layers: int) -> Mixers:
    block = Mamba2(
        kind="mamba2",
        heads=text.count("num_heads"),
        head_dim=text.count("head_dim"),
        state_size=text.count("state_size"),
        groups=text.count("n_groups"),
        conv_kernel=text.count("conv_kernel"),
    )
    return [block] * layers


def _mamba1(text: Fields, family: Family, layers: int) -> Mixers:
    hidden = text.count(*HIDDEN)
    block = Mamba1(
        kind="mamba1",
        inner_size=text.count("intermediate_size", missing=hidden * text.count("expand", missing=2)),
        state_size=text.count("state_size"),
        dt_rank=_dt_rank(text, "time_step_rank", hidden),
        conv_kernel=text.count("conv_kernel"),
    )
    return [block] * layers


def _jamba(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Jamba: one layer in `attn_layer_period` has attention, the others Mamba with inner norms."""
    hidden = text.count(*HIDDEN)
    state = Mamba1(
        kind="mamba1",
        inner_size=hidden * text.count("mamba_expand"),
        state_size=text.count("mamba_d_state"),
        dt_rank=_dt_rank(text, "mamba_dt_rank", hidden),
        conv_kernel=text.count("mamba_d_conv"),
        inner_norms=True,
    )
    full = _gqa(text, family)
    period, offset = text.count("attn_layer_period"), text.whole("attn_layer_offset")
    return [full if layer % period == offset else state for layer in range(layers)]


def _dt_rank(text: Fields, key: str, hidden: int) -> int:
    return -(-hidden // 16) if text.values.get(key) in (None, "auto") else text.count(key)


def _state_dtype(text: Fields, key: str) -> Literal["fp32", "bf16"]:
    """Return the format of a state: 32 bit unless the file says otherwise."""
    named = text.text(key) or "float32"
    if named not in ("float32", "bfloat16", "float16"):
        raise InputError(f"{text.where}: unknown state kind {shown(named)} ({key}); {NO_GUESS}")
    return "fp32" if named == "float32" else "bf16"


READERS: Mapping[str, Reader] = {
    "gqa": _gqa_layers,
    "llama4": _llama4,
    "gemma4": _gemma4,
    "mimo-v2": _mimo_v2,
    "block-sparse": _block_sparse,
    "falcon": _falcon,
    "chatglm": _chatglm,
    "nas": _nas,
    "mla": _mla_layers,
    "indexed-mla": _indexed_mla,
    "compressed": _compressed,
    "gated-delta": _gated_delta,
    "kimi-linear": _kimi_linear,
    "nemotron-h": _nemotron_h,
    "mamba2": _mamba2,
    "mamba1": _mamba1,
    "jamba": _jamba,
}
"""The readers, by `Family.mixers`."""
