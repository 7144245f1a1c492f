"""The feed-forward blocks of a `config.json`, layer by layer: dense ones and mixtures of experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmplan.errors import InputError
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields, shown
from llmplan.spec.config_keys import EXPERTS, FFN, HIDDEN, LATENT_WIDTH, SHARED, SHARED_WIDTH, TOP_K
from llmplan.spec.config_places import blocks_of, layer_kinds
from llmplan.spec.model import Ffn, Moe

Ffns = Sequence[Ffn | Moe | None]
Reader = Callable[[Fields, Family, int], Ffns]

NAS_MULTIPLE = 256
"""Widths of Nemotron-NAS are rounded up to a multiple of this."""


def _dense_layers(text: Fields, family: Family, layers: int) -> Ffns:
    return [_dense(text, family)] * layers


def _moe_layers(text: Fields, family: Family, layers: int) -> Ffns:
    """Read experts in some layers; in the first few the token chooses them (DeepSeek-V4), without a router bias."""
    found = _placed(text, family, _sparse_layers(text, layers))
    hashed = text.whole("num_hash_layers")
    return [
        ffn.model_copy(update={"router_bias": False}) if layer < hashed and isinstance(ffn, Moe) else ffn
        for layer, ffn in enumerate(found)
    ]


def _placed(text: Fields, family: Family, sparse: Sequence[bool]) -> Ffns:
    """Return experts where a layer is sparse, a dense block elsewhere."""
    if not any(sparse):
        raise InputError(f"{text.where}: unknown expert kind 'experts in no layer'; {NO_GUESS}")
    moe = _moe(text, family)
    dense = moe if all(sparse) else _dense(text, family)
    return [moe if is_sparse else dense for is_sparse in sparse]


def _llama4(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Llama 4: experts in the last of every few layers."""
    step = text.count("interleave_moe_layer_step", missing=1)
    return _placed(text, family, [(layer + 1) % step == 0 for layer in range(layers)])


def _step(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Step 3.5: the layers with experts are listed in a text, such as '3,4,5'."""
    listed = text.text("moe_layers_enum")
    if listed is None:
        return _moe_layers(text, family, layers)
    numbers = listed.split(",")
    if not all(number.strip().isdecimal() and int(number) < layers for number in numbers):
        raise text.error("moe_layers_enum", f"{shown(listed)} for {layers} layers", "give numbers from 0, as '3,4,5'")
    sparse = {int(number) for number in numbers}
    return _placed(text, family, [layer in sparse for layer in range(layers)])


def _ernie(text: Fields, family: Family, layers: int) -> Ffns:
    """Read ERNIE 4.5: experts from a first to a last layer, in every few of them."""
    first, step = text.whole("moe_layer_start_index"), text.count("moe_layer_interval", missing=1)
    last = layers - 1 if text.values.get("moe_layer_end_index") in (None, -1) else text.whole("moe_layer_end_index")
    return _placed(text, family, [first <= layer <= last and (layer + 1) % step == 0 for layer in range(layers)])


def _hunyuan(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Hunyuan: values may stand once for each layer; those that differ between layers are not modeled."""
    values = dict(text.values)
    for key in ("moe_topk", "moe_intermediate_size", "num_shared_expert"):
        given = values.get(key)
        if isinstance(given, list) and given:
            if any(item != given[0] for item in given):
                raise InputError(f"{text.where}: unknown expert kind '{key} that differs by layer'; {NO_GUESS}")
            values[key] = given[0]
    width = values.pop("moe_intermediate_size", None)
    if width is not None:
        values["intermediate_size"] = width
    return _moe_layers(Fields(values, text.where, text.prefix, text.defaults), family, layers)


def _dbrx(text: Fields, family: Family, layers: int) -> Ffns:
    return [_moe(text.within("ffn_config") if "ffn_config" in text.values else text, family)] * layers


def _granite_hybrid(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Granite 4: without experts the shared one is all there is."""
    if text.whole(*EXPERTS):
        return _moe_layers(text, family, layers)
    return [Ffn(kind="gated", intermediate_size=text.count("shared_intermediate_size"))] * layers


def _jamba(text: Fields, family: Family, layers: int) -> Ffns:
    period, offset = text.count("expert_layer_period"), text.whole("expert_layer_offset")
    return _placed(text, family, [layer % period == offset for layer in range(layers)])


def _gemma4(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Gemma 4: experts work beside the dense block of their layer, which is one that is always on."""
    dense = _dense(text, family)
    if not text.flag("enable_moe_block"):
        shared = text.whole("num_kv_shared_layers", most=layers)
        wide = dense.model_copy(update={"intermediate_size": 2 * dense.intermediate_size})
        last = wide if text.flag("use_double_wide_mlp") else dense
        return [dense] * (layers - shared) + [last] * shared
    always_on = {"shared_experts": 1, "shared_intermediate_size": dense.intermediate_size}
    return [_moe(text, family).model_copy(update=always_on)] * layers


def _nemotron_h(text: Fields, family: Family, layers: int) -> Ffns:
    kinds = layer_kinds(text)
    blocks: dict[str, Ffn | Moe] = {}
    if "mlp" in kinds:
        blocks["mlp"] = _dense(text, family)
    if "moe" in kinds:
        blocks["moe"] = _moe(text, family)
    return [blocks.get(kind) for kind in kinds]


def _nas(text: Fields, family: Family, layers: int) -> Ffns:
    """Read Nemotron-NAS: each layer has its own width, or no feed-forward block."""
    hidden = text.count(*HIDDEN)
    found: list[Ffn | None] = []
    for block in blocks_of(text, "ffn", layers):
        if block.flag("no_op"):
            found.append(None)
            continue
        factor = block.values.get("ffn_mult")
        if type(factor) not in (int, float) or not 0 < factor < 1e3:  # type: ignore[operator]
            raise block.error("ffn_mult", f"{shown(factor)} is no factor", "give a number above 0")
        width = int(2 * factor * hidden / 3)  # type: ignore[operator]
        rounded = max(-(-width // NAS_MULTIPLE) * NAS_MULTIPLE, NAS_MULTIPLE)
        found.append(Ffn(kind="gated", intermediate_size=rounded))
    return found


def _none(text: Fields, family: Family, layers: int) -> Ffns:
    return [None] * layers


def _dense(text: Fields, family: Family) -> Ffn:
    missing = 4 * text.count(*HIDDEN) if family.plain_ffn else None
    width = text.count(family.dense_width, *FFN, missing=missing) // family.wide_ffn
    return Ffn(
        kind="plain" if family.plain_ffn else "gated",
        intermediate_size=max(width, 1),
        activation_weights=family.activation_weights,
        bias=text.flag("mlp_bias", "use_bias", "bias", "add_bias_linear", "enable_bias", missing=family.ffn_bias),
    )


def _moe(text: Fields, family: Family) -> Moe:
    experts = text.count(*EXPERTS)
    top_k = text.count(*TOP_K)
    if top_k > experts:
        key = text.get(*TOP_K)[0]
        raise text.error(key, f"{top_k} of {experts} experts", f"give {experts} or fewer")
    if text.flag("mlp_bias"):
        raise InputError(f"{text.where}: unknown expert kind 'mlp_bias'; {NO_GUESS}")
    latent = text.count(*LATENT_WIDTH) if text.get(*LATENT_WIDTH)[1] is not None else None
    shared, shared_width = _shared(text, family)
    return Moe(
        kind="moe",
        experts=experts,
        experts_per_token=top_k,
        intermediate_size=text.count(family.expert_width),
        gated=family.gated_experts,
        latent_size=latent,
        latent_norm=latent is not None and text.flag("latent_moe_use_norm"),
        shared_experts=shared,
        shared_intermediate_size=shared_width,
        shared_gate=family.shared_gate and shared > 0,
        router_bias=_router_bias(text, family),
        expert_bias=family.expert_bias,
    )


def _shared(text: Fields, family: Family) -> tuple[int, int | None]:
    """Return how many experts are always on, and their width where it is not that of the routed ones."""
    key, given = text.get(*SHARED_WIDTH)
    width = None if given in (None, 0) else text.count(key)
    return max(text.whole(*SHARED), family.always_shared, 0 if width is None else 1), width


def _router_bias(text: Fields, family: Family) -> bool:
    method = text.text("topk_method")
    if method is not None:
        return method == "noaux_tc"
    return text.flag("use_routing_bias", "use_moe_router_bias", missing=family.router_bias)


def _sparse_layers(text: Fields, layers: int) -> list[bool]:
    """Return which layers hold experts: every layer unless one of five keys says otherwise."""
    kinds = text.each_layer("mlp_layer_types", layers)
    if kinds is not None:
        for kind in kinds:
            if kind not in ("dense", "sparse"):
                raise InputError(f"{text.where}: unknown expert kind {shown(kind)}; {NO_GUESS}")
        return [kind == "sparse" for kind in kinds]
    first = text.whole("first_k_dense_replace", "num_dense_layers")
    step = text.count("decoder_sparse_step", missing=1)
    dense = _dense_numbers(text)
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


def _dense_numbers(text: Fields) -> set[int]:
    value = text.values.get("mlp_only_layers")
    if value is None:
        return set()
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise text.error("mlp_only_layers", f"{shown(value)} is no list of layers", "give whole numbers")
    return set(value)


READERS: Mapping[str, Reader] = {
    "dense": _dense_layers,
    "moe": _moe_layers,
    "llama4": _llama4,
    "step": _step,
    "ernie": _ernie,
    "hunyuan": _hunyuan,
    "dbrx": _dbrx,
    "granite-hybrid": _granite_hybrid,
    "jamba": _jamba,
    "gemma4": _gemma4,
    "nemotron-h": _nemotron_h,
    "nas": _nas,
    "none": _none,
}
"""The readers, by `Family.ffns`."""
