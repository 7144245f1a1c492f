"""Reads a Hugging Face `config.json` into a `Model`, or says in one line why it cannot.

An architecture is read when `FAMILIES` knows its `model_type` and its file names no block beyond it. Any
other attention, state, expert or weight format is an error: a dense model is never guessed in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from llmplan.errors import InputError
from llmplan.spec import config_states
from llmplan.spec.base import NAME_PATTERN
from llmplan.spec.config_context import longest_context
from llmplan.spec.config_dtype import dtype_warnings
from llmplan.spec.config_families import FAMILIES
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields, as_object, shown
from llmplan.spec.config_keys import (
    ALIKE,
    ALWAYS,
    BEYOND,
    CONTEXT,
    EXPERTS,
    HIDDEN,
    LATENT,
    MTP,
    NESTS,
    PLACEMENT,
    READ,
    SENSES,
    SHARED,
    STATE_BIASES,
    TOP_K,
    VOCABULARY,
    WINDOW,
    WITHOUT_EFFECT,
)
from llmplan.spec.config_layers import Stack
from llmplan.spec.config_vision import counted_tower, vision_parameters
from llmplan.spec.config_weights import read_weights
from llmplan.spec.model import Model, Moe


def model_from_config(
    config: Mapping[str, Any],
    where: str,
    name: str | None = None,
    quantization: Mapping[str, Any] | None = None,
    model_type: str | None = None,
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
    model_type : str, optional
        The architecture of a file that names none.

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
    A vision tower is counted apart from the text model, an audio tower not at all; a warning says so.
    """
    file = Fields(in_hub_names(as_object(config, where, "a config.json")), where)
    outer = _listener(file)
    text = _language_model(outer)
    family = _family(outer, text, model_type)
    for fields in (outer, text) if text is not outer else (outer,):
        _refuse_beyond(fields, family if fields is text else None)
    text = replace(text, defaults=family.defaults)
    stack = Stack.read(text, family)
    tied = _tied(outer, text, family)
    model_name = name if name is not None else _derived_name(file, where)
    if not NAME_PATTERN.match(model_name):
        raise InputError(f"{where}: {shown(model_name)} is no name; write lower case, digits, '-' and '.'")
    model = _checked_model(
        where,
        name=model_name,
        hf_id=_hf_id(file) or model_name,
        family=family.name,
        hidden_size=text.count(*HIDDEN),
        vocab_size=text.count(*VOCABULARY),
        tie_embeddings=tied,
        max_context_tokens=longest_context(outer, text),
        weights=read_weights(file, text, quantization, family, stack, tied),
        attention=stack.attention,
        ffn=stack.ffn,
        layers=stack.runs(),
        norms_per_layer=_norms(text, family, stack),
        norm_bias=family.norm_bias,
        norm_weights=family.norm_weights,
        embedding_norm=family.embedding_norm,
        head_bias=text.flag("lm_head_bias", missing=family.head_bias),
        position_embeddings=0 if family.positions is None else text.count(*CONTEXT) + family.positions,
        residual_streams=text.count("hc_mult", missing=1),
        mtp_layers=text.whole(*MTP),
        vision_parameters=vision_parameters(outer, text.count(*HIDDEN)),
        source=where,
    )
    return model, [*dtype_warnings(outer, text), *_unread(file, outer, text, family)]


REFERENCE_NAMES = {
    "dim": "hidden_size",
    "inter_dim": "intermediate_size",
    "moe_inter_dim": "moe_intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_dense_layers": "first_k_dense_replace",
    "n_heads": "num_attention_heads",
    "n_activated_experts": "num_experts_per_tok",
    "max_seq_len": "max_position_embeddings",
}
"""Keys of DeepSeek's reference code, and what the hub calls them."""
REFERENCE_WITHOUT_EFFECT = ("n_expert_groups", "n_limited_groups", "route_scale", "score_func", "mscale", "dtype")


def in_hub_names(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a file of DeepSeek's reference code in the names of the hub; any other as it is."""
    if not {"dim", "n_layers", "kv_lora_rank"} <= set(config) or "model_type" in config:
        return config
    renamed = {REFERENCE_NAMES.get(key, key): value for key, value in config.items()}
    renamed["model_type"] = "deepseek_v32" if "index_topk" in config else "deepseek_v3"
    if config.get("dtype") == "fp8":
        renamed["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    renamed.setdefault("max_position_embeddings", 163840)
    return {key: value for key, value in renamed.items() if key not in REFERENCE_WITHOUT_EFFECT}


def _norms(text: Fields, family: Family, stack: Stack) -> int:
    """Return the norms of one layer: attention and feed-forward side by side share one."""
    if text.flag("use_parallel_residual"):
        return family.parallel_norms
    if family.name == "falcon":
        if not text.flag("parallel_attn", missing=True):
            return 2
        return text.count("num_ln_in_parallel_attn", missing=2 if text.flag("new_decoder_architecture") else 1)
    sparse = any(isinstance(ffn, Moe) for ffn in stack.ffn.values())
    return family.norms_per_layer + (family.sparse_norms if sparse else 0)


def _listener(file: Fields) -> Fields:
    """Return the part that sees, hears and thinks of a model that speaks (Qwen-Omni); any other file whole."""
    return file.within("thinker_config") if file.values.get("thinker_config") is not None else file


def _language_model(outer: Fields) -> Fields:
    for key in NESTS:
        if outer.values.get(key) is not None:
            return outer.within(key)
    return outer


def _family(outer: Fields, text: Fields, told: str | None) -> Family:
    model_type = told or text.text("model_type")
    if model_type is None and outer.text("model_type") in FAMILIES:
        model_type = outer.text("model_type")
    if model_type is None:
        raise text.error("model_type", "missing", f"{NO_GUESS}: add it, or give --model-type llama")
    if model_type not in FAMILIES:
        raise InputError(f"{text.where}: unknown attention kind {shown(model_type)} (model_type); {NO_GUESS}")
    return FAMILIES[model_type]


def _refuse_beyond(fields: Fields, family: Family | None) -> None:
    """Refuse a file that names a block beyond its family (null: the wrapper of a language model)."""
    foreign = {} if family is None else dict(_foreign(family))
    for key, value in fields.values.items():
        if value is False and key in ALWAYS:
            raise InputError(f"{fields.where}: unknown {ALWAYS[key]} kind '{key}: false'; {NO_GUESS}")
        if value is True and key in STATE_BIASES and family and family.mixers in config_states.READERS:
            raise InputError(f"{fields.where}: unknown state kind '{key}: true'; {NO_GUESS}")
        if not value or (key in ALIKE and value == fields.get(*ALIKE[key])[1]):
            continue
        kind = next((kind for kind, keys in BEYOND.items() if keys.fullmatch(str(key))), None)
        kind = foreign.get(str(key), kind)
        if kind and not (family and re.fullmatch(family.understands, str(key))):
            raise InputError(f"{fields.where}: unknown {kind} kind {shown(fields.prefix + str(key))}; {NO_GUESS}")
    types = fields.values.get("attn_type_list")  # MiniMax: 1 is softmax attention, 0 is linear
    if types is not None and (not isinstance(types, list) or any(item != 1 for item in types)):
        raise InputError(f"{fields.where}: unknown attention kind 'attn_type_list' other than 1; {NO_GUESS}")


def _foreign(family: Family) -> Iterable[tuple[str, str]]:
    """Return keys of other families, with the kind of block that they would bring."""
    latent = family.mixers in ("mla", "indexed-mla", "compressed", "kimi-linear")
    if not latent and family.mixers != "mimo-v2":
        yield from ((key, "attention") for key in LATENT)
    if latent:
        yield from ((key, "attention") for key in ("attention_bias", "bias", "qkv_bias"))
    if family.ffns in ("dense", "none", "nas"):
        yield from ((key, "expert") for key in (*EXPERTS, *TOP_K, *SHARED, *PLACEMENT, "moe_intermediate_size"))
    if family.mixers == "gqa" and family.qk_norm == "none":
        yield "use_qk_norm", "attention"
    if family.mixers in ("gqa", "falcon", "chatglm", "nas") and family.window == "none":
        yield from ((key, "attention") for key in WINDOW)


def _tied(outer: Fields, text: Fields, family: Family) -> bool:
    """Return whether head and embedding are one matrix; Gemma and Cohere tie where the file is silent."""
    return text.flag("tie_word_embeddings", missing=outer.flag("tie_word_embeddings", missing=family.tied))


def _unread(file: Fields, outer: Fields, text: Fields, family: Family) -> list[str]:
    """Return one line for the keys that nobody understood, and one for the towers left out."""
    warnings = []
    towers = [key for key in SENSES if outer.values.get(key) or file.values.get(key)]
    counted = counted_tower(outer)
    if counted in towers:
        warnings.append(f"{outer.where}: {counted}: its weights are counted; llmplan plans for text")
    others = [key for key in towers if key != counted]
    if others:
        warnings.append(f"{outer.where}: {', '.join(others)}: not counted; llmplan plans for text")
    keys = {str(key) for fields in (file, outer, text) for key in fields.values}
    unread = sorted(key for key in keys if _is_unread(key) and not re.fullmatch(family.understands, key))
    if unread:
        warnings.append(f"{outer.where}: not read: {', '.join(_plain(key) for key in unread)}")
    return warnings


def _is_unread(key: str) -> bool:
    beyond = any(keys.fullmatch(key) for keys in BEYOND.values())
    return not (beyond or key in READ or WITHOUT_EFFECT.fullmatch(key))


def _plain(key: str) -> str:
    return key if key.isidentifier() else shown(key)


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""ORG/NAME, as the hub writes it."""


def _hf_id(outer: Fields) -> str | None:
    told = outer.values.get("_name_or_path")
    return told if isinstance(told, str) and HUB_ID.fullmatch(told) and told[0] != "." else None


def _derived_name(outer: Fields, where: str) -> str:
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
