"""Linear attention and state space layers in a `config.json`, and the hybrids they form with attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from llmplan.errors import InputError
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_heads import gqa
from llmplan.spec.config_keys import HIDDEN
from llmplan.spec.config_latents import mla
from llmplan.spec.config_places import FULL, LINEAR, Mixers, layer_kinds, layer_types
from llmplan.spec.model import Delta, Mamba1, Mamba2, Mixer


def _gated_delta(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Qwen3-Next and Qwen3.5: one layer in a few has attention, the others keep a state."""
    kinds = layer_types(text, layers, FULL, LINEAR)
    if kinds is None:
        every = text.count("full_attention_interval")
        kinds = [LINEAR if (layer + 1) % every else FULL for layer in range(layers)]
    full = gqa(text, family)
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
    full = mla(text, output_gate=gate)
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
        blocks["attention"] = gqa(text, family)
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


def _bamba(text: Fields, family: Family, layers: int) -> Mixers:
    """Read Bamba and Granite 4: attention in the layers that a list names, Mamba-2 in the others."""
    heads = text.count("mamba_n_heads")
    inner = text.count(*HIDDEN) * text.count("mamba_expand", missing=2)
    width = inner // heads if text.values.get("mamba_d_head") in (None, "auto") else text.count("mamba_d_head")
    if width * heads != inner:
        raise text.error("mamba_d_head", f"{heads} heads of {width} are not {inner} wide", "mend one of them")
    state = Mamba2(
        kind="mamba2",
        heads=heads,
        head_dim=width,
        state_size=text.count("mamba_d_state"),
        groups=text.count("mamba_n_groups"),
        conv_kernel=text.count("mamba_d_conv"),
    )
    full = gqa(text, family)
    return [full if attends else state for attends in _attending(text, layers)]


def _attending(text: Fields, layers: int) -> list[bool]:
    """Return which layers have attention, by their kinds or by their numbers from 0."""
    kinds = layer_kinds(text) or layer_types(text, layers, "attention", FULL, "mamba", LINEAR)
    if kinds is not None:
        return [kind in ("attention", FULL) for kind in kinds]
    numbers = text.values.get("attn_layer_indices") or []
    if not isinstance(numbers, list) or any(type(n) is not int or not 0 <= n < layers for n in numbers):
        raise text.error(
            "attn_layer_indices", f"{shown(numbers)} for {layers} layers", "give numbers of layers, from 0"
        )
    return [layer in numbers for layer in range(layers)]


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
    full = gqa(text, family)
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


READERS: dict[str, Callable[[Fields, Family, int], Mixers]] = {
    "gated-delta": _gated_delta,
    "kimi-linear": _kimi_linear,
    "nemotron-h": _nemotron_h,
    "bamba": _bamba,
    "mamba2": _mamba2,
    "mamba1": _mamba1,
    "jamba": _jamba,
}
"""The readers of this module, by `Family.mixers`."""
