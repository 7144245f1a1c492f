"""Reads a Hugging Face `config.json` into a `Model`, or says in one line why it cannot.

An architecture is read when `FAMILIES` knows its `model_type` and its file names no block beyond it. Any
other attention, state, expert or weight format is an error: a dense model is never guessed in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from itertools import groupby
from pathlib import PurePath
from typing import Any, Literal

from pydantic import ValidationError

from llmplan.errors import InputError
from llmplan.spec.base import NAME_PATTERN
from llmplan.spec.model import Ffn, Gqa, LayerRun, Mla, Model, Module, Moe, Weights

MOST = 10**9
"""No count in a real file is larger: more is a slip."""
MOST_LAYERS = 1_000
NO_GUESS = "llmplan will not guess a dense model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the code of an architecture fixes and its `config.json` leaves unsaid."""

    name: str
    latent: bool = False
    """Attention over a latent (MLA)."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias whatever `attention_bias` says."""
    attention_bias: bool = False
    """A missing `attention_bias`."""
    output_bias: bool = True
    """`attention_bias` means the output projection too."""
    qk_norm: Literal["none", "per_head", "full"] = "none"
    use_qk_norm: bool = True
    """A missing `use_qk_norm`, for a family with such a norm."""
    sinks: bool = False
    norms_per_layer: int = 2
    tied: bool = False
    """A missing `tie_word_embeddings`."""
    window: Literal["none", "all", "switched", "pattern"] = "none"
    """The layers that `sliding_window` binds where there is no `layer_types`."""
    full_every: int = 1
    """`pattern`: one layer in so many sees every token."""
    kv_heads_needed: bool = True
    """A missing `num_key_value_heads` does not mean one for each head."""
    head_dim_needed: bool = False
    """A missing `head_dim` does not mean hidden_size / heads."""
    expert_width: str = ""
    """Key of an expert's width; empty: an architecture without experts."""
    expert_path: str = "mlp"
    """Name of the block of experts in the checkpoint."""
    router_bias: bool = False
    """A missing `topk_method` and `use_routing_bias`."""
    expert_bias: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Values that published files of this architecture leave out."""


_LLAMA = Family(name="llama", kv_heads_needed=False)
_MISTRAL = Family(name="mistral", window="all")
_QWEN2 = Family(name="qwen2", qkv_bias=True, output_bias=False, window="switched")
_QWEN3 = Family(name="qwen3", qk_norm="per_head", head_dim_needed=True, window="switched")
_QWEN3_MOE = replace(_QWEN3, name="qwen3-moe", expert_width="moe_intermediate_size")
_GEMMA = Family(name="gemma", tied=True, head_dim_needed=True)
_OLMO2 = Family(name="olmo2", qk_norm="full", kv_heads_needed=False)
_DEEPSEEK_V2 = Family(name="deepseek", latent=True, expert_width="moe_intermediate_size")
_DEEPSEEK_V3 = replace(_DEEPSEEK_V2, router_bias=True)

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "internlm2": replace(_LLAMA, name="internlm2"),
    "cohere": Family(
        name="cohere", kv_heads_needed=False, norms_per_layer=1, tied=True, qk_norm="full", use_qk_norm=False
    ),
    "phi3": Family(name="phi3", kv_heads_needed=False, window="all"),
    "mistral": _MISTRAL,
    "ministral3": replace(_MISTRAL, head_dim_needed=True),
    "mixtral": replace(_MISTRAL, name="mixtral", expert_width="intermediate_size", expert_path="block_sparse_moe"),
    "qwen2": _QWEN2,
    "mimo": replace(_QWEN2, name="mimo"),
    "qwen3": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, name="gemma2", norms_per_layer=4, window="pattern", full_every=2),
    "gemma3_text": replace(
        _GEMMA,
        name="gemma3",
        norms_per_layer=4,
        qk_norm="per_head",
        window="pattern",
        full_every=6,
        defaults={  # Gemma3TextConfig of transformers: the file of gemma-3-4b-it names none of them
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
        },
    ),
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, name="olmo3", window="pattern", full_every=4),
    "gpt_oss": Family(
        name="gpt-oss",
        attention_bias=True,
        sinks=True,
        window="pattern",
        full_every=2,
        head_dim_needed=True,
        expert_width="intermediate_size",
        router_bias=True,
        expert_bias=True,
    ),
    "deepseek": Family(name="deepseek-moe", expert_width="moe_intermediate_size"),
    "deepseek_v2": _DEEPSEEK_V2,
    "deepseek_v3": _DEEPSEEK_V3,
    "kimi_k2": _DEEPSEEK_V3,
    "glm4_moe": Family(
        name="glm4-moe",
        output_bias=False,
        qk_norm="per_head",
        use_qk_norm=False,
        head_dim_needed=True,
        expert_width="moe_intermediate_size",
        router_bias=True,
    ),
    "minimax_m2": Family(
        name="minimax-m2",
        qk_norm="full",
        head_dim_needed=True,
        expert_width="intermediate_size",
        expert_path="block_sparse_moe",
        router_bias=True,
    ),
}
"""The architectures that are read, by `model_type`."""

NESTS = ("text_config", "language_config", "llm_config")
"""Where a model with other senses keeps its language model."""
SENSES = ("vision_config", "audio_config", "speech_config")

EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")
TOP_K = ("num_experts_per_tok", "experts_per_token", "num_experts_per_token")
SHARED = ("n_shared_experts", "num_shared_experts")
MTP = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
LATENT = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
WINDOW = ("sliding_window", "sliding_window_size")
PLACEMENT = (
    "first_k_dense_replace",
    "moe_layer_freq",
    "mlp_layer_types",
    "decoder_sparse_step",
    "mlp_only_layers",
)

READ = {
    *EXPERTS, *TOP_K, *SHARED, *MTP, *LATENT, *PLACEMENT, *NESTS, *SENSES,
    "model_type", "hidden_size", "intermediate_size", "moe_intermediate_size", "vocab_size",
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "tie_word_embeddings", "attention_bias", "bias", "qkv_bias", "mlp_bias",
    "use_qk_norm", "qk_norm_type", "sliding_window", "sliding_window_size", "use_sliding_window",
    "max_window_layers", "layer_types", "sliding_window_pattern", "_sliding_window_pattern",
    "topk_method", "use_routing_bias",
    "quantization_config", "is_encoder_decoder", "attn_type_list", "use_mtp",
}  # fmt: skip
"""Keys with a meaning for llmplan."""

WITHOUT_EFFECT = re.compile(
    r"_.*|.*(_token_ids?|_token_index|_words_ids|dropout|_pdrop|_eps|epsilon|softcapping|placeholder|_note)"
    r"|(rope|rotary|router|output|vision|image|video|audio|mm|projector|multimodal|beam|num_beam)_\w+"
    r"|architectures|attn_implementation|auto_map|aux_loss_alpha|bad_words_ids|cache_implementation"
    r"|chunk_size_feed_forward|decoder_start_token_id|diversity_penalty|do_sample|dtype|early_stopping|ep_size"
    r"|encoder_no_repeat_ngram_size|exponential_decay_length_penalty|finetuning_task|hidden_act|hidden_activation"
    r"|id2label|ignore_index"
    r"|initial_context_length|initializer_range|is_decoder|label2id|language_model_only|length_penalty"
    r"|logit_scale|max_length|min_length|model_max_length|mtp_transformer_layers|mtp_use_dedicated_embeddings"
    r"|moe_router_dtype|n_group|no_repeat_ngram_size|norm_topk_prob|num_return_sequences|num_beams"
    r"|original_max_position_embeddings|partial_rotary_factor|prefix|pretraining_tp|problem_type|pruned_heads"
    r"|qk_head_dim|query_pre_attn_scalar|remove_invalid_values|repetition_penalty|return_dict\w*"
    r"|routed_scaling_factor|scale_fmt|scoring_func|seq_aux|suppress_tokens|begin_suppress_tokens|swiglu_limit"
    r"|task_specific_params|temperature|tf_legacy_loss|tie_encoder_decoder|tokenizer_class|top_k|top_p"
    r"|topk_group|torch_dtype|torchscript|transformers\S*|typical_p|use_bfloat16|use_cache"
    r"|use_bidirectional_attention|use_mrope|use_unified_vision_chunk|spatial_merge_size"
)
"""Keys that change neither a shape, nor a state, nor a format."""

BEYOND: Mapping[str, re.Pattern[str]] = {
    "attention": re.compile(
        r"index_\w+|indexer_\w+|compress_\w+|sparse_attention\w*|linear_\w+|full_attention_interval"
        r"|attention_chunk_size|attention_k_eq_v|num_kv_shared_layers|kv_sharing\w*|swa_\w+|hybrid_\w+"
        r"|num_global_key_value_heads|global_head_dim|o_lora_rank|o_groups|multi_query\w*|num_query_groups"
        r"|cross_attention\w*|add_cross_attention|attn_output_gate|attention_output_gate"
        r"|mla_use_\w+|layers_block_type|attn_layer_\w+|no_rope_layers|lightning\w*"
    ),
    "state": re.compile(r"mamba_\w+|ssm_\w+|state_size|conv_kernel|time_step_\w+|rwkv\w*|recurrent_\w+"),
    "expert": re.compile(
        r"moe_latent_size|routed_expert_hidden_size|interleave_moe_layer_step|expert_layer_\w+|expert_dtype"
        r"|enable_moe_block|shared_expert_intermediate_size|moe_shared_expert_intermediate_size"
        r"|shared_intermediate_size|share_expert_dim|zero_expert\w*|num_zero_experts|dense_intermediate_size"
    ),
    "block": re.compile(
        r"block_configs|is_encoder_decoder|encoder_layers|decoder_layers|hidden_size_per_layer_input"
        r"|altup_\w+|hc_\w+|attn_res_block_size|lm_head_bias|thinker_config|talker_config|num_hash_layers"
        r"|use_double_wide_mlp|adapter_\w+"
    ),
}
"""Keys of blocks that llmplan does not model yet, by the kind of block."""


def model_from_config(
    config: Mapping[str, Any],
    where: str,
    name: str | None = None,
    quantization: Mapping[str, Any] | None = None,
) -> tuple[Model, list[str]]:
    """Return the model that a parsed `config.json` describes, and what was not understood.

    Parameters
    ----------
    config : mapping
        The file as `json.load` gives it.
    where : str
        The file, as errors and warnings shall name it.
    name : str, optional
        Name of the model; by default from `_name_or_path`, else from the folder or file in `where`.
    quantization : mapping, optional
        The `hf_quant_config.json` beside it; it governs over the `quantization_config` inside.

    Returns
    -------
    tuple
        The model, and one line for each warning.

    Raises
    ------
    InputError
        If the file is wrong, incomplete, or describes a block that llmplan does not model.

    Notes
    -----
    A vision or audio tower is not counted; a warning says so.
    """
    outer = _Fields(_as_object(config, where, "a config.json"), where)
    text = _language_model(outer)
    family = _family(text)
    for fields in (outer, text) if text is not outer else (outer,):
        _refuse_beyond(fields, family if fields is text else None)
    text = replace(text, defaults=family.defaults)
    stack = _Stack.read(text, family)
    weights, warnings = _weights(outer, text, quantization, family, stack)
    model_name = name if name is not None else _derived_name(outer, where)
    if not NAME_PATTERN.match(model_name):
        raise InputError(f"{where}: {_shown(model_name)} is no name; write lower case, digits, '-' and '.'")
    model = _checked_model(
        where,
        name=model_name,
        hf_id=_hf_id(outer) or model_name,
        family=family.name,
        hidden_size=text.count("hidden_size"),
        vocab_size=text.count("vocab_size"),
        tie_embeddings=_tied(outer, text, family),
        max_context_tokens=text.count("max_position_embeddings"),
        weights=weights,
        attention=stack.attention,
        ffn=stack.ffn,
        layers=stack.runs(),
        norms_per_layer=family.norms_per_layer,
        mtp_layers=text.whole(*MTP),
        source=where,
    )
    return model, [*_unread(outer, text), *warnings]


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of one JSON object; a wrong value is an error that names the field."""

    values: Mapping[str, Any]
    where: str
    prefix: str = ""
    defaults: Mapping[str, int] = field(default_factory=dict)

    def error(self, key: str, wrong: str, right: str) -> InputError:
        return InputError(f"{self.where}: {self.prefix}{key}: {wrong}; {right}")

    def get(self, *keys: str) -> tuple[str, Any]:
        """Return the first of `keys` that is set, with its value; else the first key and None."""
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        return keys[0], None

    def count(self, *keys: str, missing: int | None = None, most: int = MOST) -> int:
        """Return a number that is 1 or more."""
        key, value = self.get(*keys)
        fallback = self.defaults.get(key, missing)
        if value is None and fallback is not None:
            return fallback
        if value is None:
            raise self.error(key, "missing", "give a whole number, 1 or more")
        if type(value) is not int or not 1 <= value <= most:
            raise self.error(key, f"{_shown(value)} is no count", f"give a whole number from 1 to {most}")
        return value

    def whole(self, *keys: str, most: int = MOST) -> int:
        """Return a number that is 0 or more; missing is 0."""
        key, value = self.get(*keys)
        if value is None:
            return 0
        if type(value) is not int or not 0 <= value <= most:
            raise self.error(key, f"{_shown(value)} is no count", f"give a whole number from 0 to {most}")
        return value

    def flag(self, *keys: str, missing: bool = False) -> bool:
        key, value = self.get(*keys)
        if value is None:
            return missing
        if type(value) is not bool:
            raise self.error(key, f"{_shown(value)} is neither true nor false", "give true or false")
        return value

    def text(self, *keys: str) -> str | None:
        key, value = self.get(*keys)
        if value is not None and not isinstance(value, str):
            raise self.error(key, f"{_shown(value)} is no text", "give a name in quotes")
        return value

    def texts(self, *keys: str) -> list[str]:
        key, value = self.get(*keys)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"{_shown(value)} is no list of names", "give a list of texts")
        return value

    def each_layer(self, key: str, layers: int) -> list[Any] | None:
        """Return a list with one item for each layer, or None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != layers:
            has = f"{len(value)} items" if isinstance(value, list) else _shown(value)
            raise self.error(key, f"{has} for {layers} layers", "give a list with one item for each layer")
        return value

    def within(self, key: str) -> _Fields:
        """Return the object under `key`."""
        inner = _as_object(self.values[key], f"{self.where}: {self.prefix}{key}", "its content")
        return _Fields(inner, self.where, f"{self.prefix}{key}.")


@dataclass(frozen=True, slots=True)
class _Stack:
    """The blocks of a model, and for each layer the names of its two."""

    attention: Mapping[str, Gqa | Mla]
    ffn: Mapping[str, Ffn | Moe]
    layers: Sequence[tuple[str, str]]

    @classmethod
    def read(cls, text: _Fields, family: Family) -> _Stack:
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
        return tuple(
            LayerRun(count=len(list(equal)), attention=attention, ffn=ffn)
            for (attention, ffn), equal in groupby(self.layers)
        )


def _as_object(value: object, where: str, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {what} is {_shown(value)}; give a JSON object")
    return value


def _shown(value: object) -> str:
    """Return `value` on one line, cut to a readable length."""
    if isinstance(value, list | tuple | Mapping):
        return f"a {'JSON object' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    text = repr(value) if type(value) is not int or abs(value) < MOST**2 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _language_model(outer: _Fields) -> _Fields:
    for key in NESTS:
        if outer.values.get(key) is not None:
            return outer.within(key)
    return outer


def _family(text: _Fields) -> Family:
    model_type = text.text("model_type")
    if model_type is None:
        raise text.error("model_type", "missing", f"{NO_GUESS}: add the architecture, such as 'llama'")
    if model_type not in FAMILIES:
        raise InputError(f"{text.where}: unknown attention kind {_shown(model_type)} (model_type); {NO_GUESS}")
    return FAMILIES[model_type]


def _refuse_beyond(fields: _Fields, family: Family | None) -> None:
    """Refuse a file that names a block beyond its family (null: the wrapper of a language model)."""
    foreign = {} if family is None else dict(_foreign(family))
    for key, value in fields.values.items():
        if not value:
            continue
        kind = next((kind for kind, keys in BEYOND.items() if keys.fullmatch(str(key))), None)
        kind = foreign.get(str(key), kind)
        if kind:
            raise InputError(f"{fields.where}: unknown {kind} kind {_shown(fields.prefix + str(key))}; {NO_GUESS}")
    types = fields.values.get("attn_type_list")  # MiniMax: 1 is softmax attention, 0 is linear
    if types is not None and (not isinstance(types, list) or any(item != 1 for item in types)):
        raise InputError(f"{fields.where}: unknown attention kind 'attn_type_list' other than 1; {NO_GUESS}")


def _foreign(family: Family) -> Iterable[tuple[str, str]]:
    """Return keys of other families, with the kind of block that they would bring."""
    if not family.latent:
        yield from ((key, "attention") for key in LATENT)
    if family.latent:
        yield from ((key, "attention") for key in ("attention_bias", "bias", "qkv_bias"))
    if not family.expert_width:
        yield from ((key, "expert") for key in (*EXPERTS, *TOP_K, *SHARED, *PLACEMENT, "moe_intermediate_size"))
    if family.qk_norm == "none":
        yield "use_qk_norm", "attention"
    if family.window == "none":
        yield from ((key, "attention") for key in WINDOW)


def _windows(text: _Fields, family: Family, layers: int) -> tuple[list[str], int | None]:
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


def _windowed_layers(text: _Fields, family: Family, layers: int) -> list[bool]:
    kinds = text.each_layer("layer_types", layers)
    if kinds is not None:
        for kind in kinds:
            if kind not in ("full_attention", "sliding_attention"):
                raise InputError(f"{text.where}: unknown attention kind {_shown(kind)}; {NO_GUESS}")
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


def _gqa(text: _Fields, family: Family, window: int | None, kind: str) -> Gqa:
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


def _kv_heads(text: _Fields, family: Family, heads: int) -> int:
    left_out = "num_key_value_heads" not in text.values
    missing = None if left_out and family.kv_heads_needed else heads
    kv_heads = text.count("num_key_value_heads", missing=missing)
    if heads % kv_heads:
        raise text.error("num_key_value_heads", f"{heads} heads cannot share {kv_heads}", f"give a divisor of {heads}")
    return kv_heads


def _head_dim(text: _Fields, family: Family, heads: int) -> int:
    hidden = text.count("hidden_size")
    if family.head_dim_needed or text.values.get("head_dim") is not None:
        return text.count("head_dim")
    if hidden % heads:
        raise text.error("head_dim", f"missing, and {heads} heads do not divide {hidden}", "give a head_dim")
    return hidden // heads


def _qk_norm(text: _Fields, family: Family) -> Literal["none", "per_head", "full"]:
    if not text.flag("use_qk_norm", missing=family.use_qk_norm):
        return "none"
    named = text.text("qk_norm_type")
    if named not in (None, "per_layer"):
        raise InputError(f"{text.where}: unknown attention kind 'qk_norm_type: {named[:40]!r}'; {NO_GUESS}")
    return family.qk_norm


def _mla(text: _Fields) -> Mla:
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


def _dense(text: _Fields) -> Ffn:
    return Ffn(kind="gated", intermediate_size=text.count("intermediate_size"), bias=text.flag("mlp_bias"))


def _moe(text: _Fields, family: Family) -> Moe:
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


def _router_bias(text: _Fields, family: Family) -> bool:
    method = text.text("topk_method")
    if method is not None:
        return method == "noaux_tc"
    return text.flag("use_routing_bias", missing=family.router_bias)


def _sparse_layers(text: _Fields, layers: int) -> list[bool]:
    """Return which layers hold experts: every layer unless one of five keys says otherwise."""
    kinds = text.each_layer("mlp_layer_types", layers)
    if kinds is not None:
        for kind in kinds:
            if kind not in ("dense", "sparse"):
                raise InputError(f"{text.where}: unknown expert kind {_shown(kind)}; {NO_GUESS}")
        return [kind == "sparse" for kind in kinds]
    first = text.whole("first_k_dense_replace")
    step = text.count("decoder_sparse_step", missing=1)
    dense = _dense_layers(text)
    frequent = _frequent(text, layers)
    return [
        layer >= first and frequent[layer] and (layer + 1) % step == 0 and layer not in dense for layer in range(layers)
    ]


def _frequent(text: _Fields, layers: int) -> list[bool]:
    """Read `moe_layer_freq`: one layer in so many, or a 0 or 1 for each."""
    if not isinstance(text.values.get("moe_layer_freq"), list):
        every = text.count("moe_layer_freq", missing=1)
        return [layer % every == 0 for layer in range(layers)]
    marks = text.each_layer("moe_layer_freq", layers) or []
    if any(type(mark) is not int or mark not in (0, 1) for mark in marks):
        raise text.error("moe_layer_freq", "not all items are 0 or 1", "give 1 for each layer with experts")
    return [mark == 1 for mark in marks]


def _dense_layers(text: _Fields) -> set[int]:
    value = text.values.get("mlp_only_layers")
    if value is None:
        return set()
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise text.error("mlp_only_layers", f"{_shown(value)} is no list of layers", "give whole numbers")
    return set(value)


def _tied(outer: _Fields, text: _Fields, family: Family) -> bool:
    """Return whether head and embedding are one matrix; Gemma and Cohere tie where the file is silent."""
    return text.flag("tie_word_embeddings", missing=outer.flag("tie_word_embeddings", missing=family.tied))


def _unread(outer: _Fields, text: _Fields) -> list[str]:
    """Return one line for the keys that nobody understood, and one for the towers left out."""
    warnings = []
    towers = [key for key in SENSES if outer.values.get(key)]
    if towers:
        warnings.append(f"{outer.where}: {', '.join(towers)}: not counted; llmplan plans for text")
    keys = {str(key) for fields in (outer, text) for key in fields.values}
    unread = sorted(key for key in keys if _is_unread(key))
    if unread:
        warnings.append(f"{outer.where}: not read: {', '.join(_plain(key) for key in unread)}")
    return warnings


def _is_unread(key: str) -> bool:
    beyond = any(keys.fullmatch(key) for keys in BEYOND.values())
    return not (beyond or key in READ or WITHOUT_EFFECT.fullmatch(key))


def _plain(key: str) -> str:
    return key if key.isidentifier() else _shown(key)


def _hf_id(outer: _Fields) -> str | None:
    told = outer.values.get("_name_or_path")
    return told if isinstance(told, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", told) else None


def _derived_name(outer: _Fields, where: str) -> str:
    """Return a name from `_name_or_path`, a hub cache folder, the folder, or the file."""
    told = outer.values.get("_name_or_path")
    path = PurePath(where)
    cached = [part.rsplit("--", 1)[-1] for part in path.parts if part.startswith("models--")]
    stem = path.parent.name if path.name == "config.json" else path.name.removesuffix(".json")
    for text in (PurePath(told).name if isinstance(told, str) else "", *cached, stem):
        cleaned = re.sub(r"[^a-z0-9.]+", "-", text.lower())
        cleaned = re.sub(r"[.-]*-[.-]*|\.{2,}", "-", cleaned).strip("-.")
        if cleaned:
            return cleaned
    return "model"


def _checked_model(where: str, **values: Any) -> Model:
    try:
        return Model(**values)
    except ValidationError as error:  # each value was read by a rule above; this is the net below
        first = error.errors(include_url=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {field_name}: {' '.join(first['msg'].split())}; mend the file") from None


# ---- the format of the weights ----

ALWAYS_BF16: frozenset[Module] = frozenset({"embedding", "head", "router", "norms"})
"""Modules that no format read here quantizes."""
Format = tuple[Literal["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"], tuple[int, int] | None]
"""Dtype, and the block of weights that shares a scale where the dtype does not fix it."""
KEPT = ("modules_to_not_convert", "ignored_layers", "exclude_modules", "ignore")
"""Keys that list the modules which are not quantized."""


def _weights(
    outer: _Fields, text: _Fields, quantization: object, family: Family, stack: _Stack
) -> tuple[Weights, list[str]]:
    given = _quantization(outer, text, quantization)
    if given is None:
        return Weights(), []
    method = given.text("quant_method") or ("modelopt" if given.values.get("quant_algo") else None)
    reader = FORMATS.get(method or "")
    if method is None or reader is None:
        known = ", ".join(FORMATS)
        raise given.error("quant_method", f"unknown weight format {_shown(method)}", f"llmplan reads {known}")
    dtype, block = reader(given)
    matrices = list(_matrices(text, family, stack))
    if method == "mxfp4":  # the loaders of this format convert experts and nothing else
        kept: set[Module] = {module for module, _, _ in matrices if module != "experts"}
        partial: list[str] = []
        if kept == {module for module, _, _ in matrices}:
            raise given.error("quant_method", "mxfp4 without experts to quantize", "give an MoE model")
    else:
        kept, partial = _kept(matrices, _stays(given), dtype)
    weights = Weights(dtype=dtype, scale_block=block, bf16_modules=ALWAYS_BF16 | kept)
    return weights, [f"{given.where}: {line}" for line in partial]


def _quantization(outer: _Fields, text: _Fields, beside: object) -> _Fields | None:
    """Return the fields that tell the weight format: of the file beside, else of the model's own."""
    if beside is not None:
        file = _Fields(_as_object(beside, outer.where, "hf_quant_config.json"), outer.where, "hf_quant_config.")
        if file.values.get("quantization") is None:
            raise file.error("quantization", "missing", "give an object with quant_algo")
        return file.within("quantization")
    for fields in (outer, text):
        if fields.values.get("quantization_config") is not None:
            return fields.within("quantization_config")
    return None


def _fp8(given: _Fields) -> Format:
    block = given.values.get("weight_block_size")
    return "fp8", None if block is None else _block(given, "weight_block_size", block)


def _mxfp4(given: _Fields) -> Format:
    if given.count("group_size", missing=32) != 32:
        raise given.error("group_size", "unknown weight format of this group", "mxfp4 has groups of 32")
    return "mxfp4", None


def _modelopt(given: _Fields) -> Format:
    algorithm = given.text("quant_algo")
    if algorithm == "FP8":
        return "fp8", None
    if algorithm in ("NVFP4", "W4A16_NVFP4"):
        return "nvfp4", None
    raise given.error("quant_algo", f"unknown weight format {_shown(algorithm)}", "llmplan reads FP8 and NVFP4")


def _bits(given: _Fields) -> Format:
    """Read AWQ and GPTQ: whole numbers in groups along the input."""
    if given.values.get("dynamic"):
        raise given.error("dynamic", "a format of its own for some layers", "llmplan reads one for all layers")
    bits = given.count("bits", "w_bit")
    if bits not in (4, 8):
        raise given.error("bits", f"unknown weight format of {bits} bits", "llmplan reads 4 and 8")
    return "int4" if bits == 4 else "int8", _group(given)


def _compressed(given: _Fields) -> Format:
    groups = _as_object(given.values.get("config_groups"), f"{given.where}: {given.prefix}config_groups", "it")
    found = set()
    for name in groups:
        group = given.within("config_groups").within(name)
        if group.values.get("weights") is None:
            raise group.error("weights", "missing", "give num_bits and type")
        found.add(_compressed_group(group.within("weights"), "mxfp4" in (given.text("format") or "")))
    if len(found) != 1:
        raise given.error("config_groups", f"{len(found)} weight formats", "llmplan reads one for all layers")
    return found.pop()


def _compressed_group(weights: _Fields, is_mxfp4: bool) -> Format:
    kind = (weights.count("num_bits"), weights.text("type") or "int")
    if kind == (8, "float"):
        block = weights.values.get("block_structure")
        return "fp8", None if block is None else _block(weights, "block_structure", block)
    if kind == (4, "float") or is_mxfp4:
        return "mxfp4" if is_mxfp4 else "nvfp4", None
    if kind in ((8, "int"), (4, "int")):
        return "int8" if kind[0] == 8 else "int4", _group(weights)
    wrong = f"unknown weight format {_shown(kind[1])} of {kind[0]} bits"
    raise weights.error("type", wrong, "llmplan reads float and int of 8 or 4 bits")


def _group(given: _Fields) -> tuple[int, int] | None:
    key, size = given.get("group_size", "q_group_size")
    return None if size is None or (type(size) is int and size == -1) else (1, given.count(key))


def _block(given: _Fields, key: str, value: object) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        return value[0], value[1]
    raise given.error(key, f"{_shown(value)} is no block", "give two whole numbers, such as [128, 128]")


FORMATS: Mapping[str, Callable[[_Fields], Format]] = {
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed,
    "awq": _bits,
    "gptq": _bits,
}
"""The readers of weight formats, by `quant_method`."""


def _matrices(text: _Fields, family: Family, stack: _Stack) -> Iterable[tuple[Module, str, int]]:
    """Yield module, checkpoint name and size of the matrices that a format may quantize."""
    hidden = text.count("hidden_size")
    for layer, (attention_name, ffn_name) in enumerate(stack.layers):
        for part, size in _attention_matrices(stack.attention[attention_name], hidden):
            yield "attention", f"layers.{layer}.self_attn.{part}", size
        ffn = stack.ffn[ffn_name]
        size = hidden * ffn.intermediate_size
        for part in ("gate_proj", "up_proj", "down_proj"):
            if isinstance(ffn, Ffn):
                yield "ffn", f"layers.{layer}.mlp.{part}", size
                continue
            yield "experts", f"layers.{layer}.{family.expert_path}.experts.0.{part}", size
            if ffn.shared_experts:
                yield "shared_experts", f"layers.{layer}.{family.expert_path}.shared_experts.{part}", size


def _attention_matrices(attention: Gqa | Mla, hidden: int) -> Iterable[tuple[str, int]]:
    if isinstance(attention, Gqa):
        query, key = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
        return (
            ("q_proj", hidden * query),
            ("k_proj", hidden * key),
            ("v_proj", hidden * key),
            ("o_proj", hidden * query),
        )
    a = attention
    query, latent = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim), a.kv_lora_rank
    queries = (
        (("q_proj", hidden * query),)
        if a.q_lora_rank is None
        else (("q_a_proj", hidden * a.q_lora_rank), ("q_b_proj", a.q_lora_rank * query))
    )
    return (
        *queries,
        ("kv_a_proj_with_mqa", hidden * (latent + a.qk_rope_head_dim)),
        ("kv_b_proj", latent * a.heads * (a.qk_nope_head_dim + a.v_head_dim)),
        ("o_proj", hidden * a.heads * a.v_head_dim),
    )


def _stays(given: _Fields) -> Callable[[str], bool]:
    """Return the test of whether a matrix is on the list of those not quantized."""
    plain: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for entry in given.texts(*KEPT):
        at = entry.find("layers.")
        if entry.startswith("re:"):
            patterns.append(_pattern(given, entry.removeprefix("re:")))
        elif "*" in entry:
            glob = entry[at:] if at >= 0 else entry
            patterns.append(re.compile(f"{translate(glob)}|{translate(glob + '.*')}"))
        else:
            plain.add(entry[at:] if at >= 0 else entry)

    def stays(name: str) -> bool:
        parts = name.split(".")
        spans = (".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1))
        full = (name, f"model.{name}", f"language_model.model.{name}", f"model.language_model.{name}")
        return any(span in plain for span in spans) or any(p.match(n) for p in patterns for n in full)

    return stays


def _pattern(given: _Fields, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise given.error("ignore", f"{_shown(text)} is no regular expression", "mend the pattern") from None


def _kept(
    matrices: Sequence[tuple[Module, str, int]], stays: Callable[[str], bool], dtype: str
) -> tuple[set[Module], list[str]]:
    """Return the modules that stay bf16 by more than half of their weights, and a line for each in part."""
    total: dict[Module, int] = {}
    bf16: dict[Module, int] = {}
    for module, name, size in matrices:
        total[module] = total.get(module, 0) + size
        bf16[module] = bf16.get(module, 0) + (size if stays(name) else 0)
    kept = {module for module in total if 2 * bf16[module] > total[module]}
    partial = [
        f"{bf16[module] / total[module]:.0%} of {module} stays bf16; "
        f"all of it is counted as {'bf16' if module in kept else dtype}"
        for module in total
        if 0 < bf16[module] < total[module]
    ]
    return kept, partial
