"""The format of the weights that a `config.json`, or the `hf_quant_config.json` beside it, describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Literal

from llmplan.spec.config_fields import Fields, as_object, shown
from llmplan.spec.config_keys import Family
from llmplan.spec.config_layers import Stack
from llmplan.spec.model import Ffn, Gqa, Mla, Module, Weights

ALWAYS_BF16: frozenset[Module] = frozenset({"embedding", "head", "router", "norms"})
"""Modules that no format read here quantizes."""
Format = tuple[Literal["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"], tuple[int, int] | None]
"""Dtype, and the block of weights that shares a scale where the dtype does not fix it."""
KEPT = ("modules_to_not_convert", "ignored_layers", "exclude_modules", "ignore")
"""Keys that list the modules which are not quantized."""


def read_weights(
    outer: Fields, text: Fields, quantization: object, family: Family, stack: Stack
) -> tuple[Weights, list[str]]:
    """Return the format of the weights, and a line for each module that is quantized in part."""
    given = _quantization(outer, text, quantization)
    if given is None:
        return Weights(), []
    method = given.text("quant_method") or ("modelopt" if given.values.get("quant_algo") else None)
    reader = FORMATS.get(method or "")
    if method is None or reader is None:
        known = ", ".join(FORMATS)
        raise given.error("quant_method", f"unknown weight format {shown(method)}", f"llmplan reads {known}")
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


def _quantization(outer: Fields, text: Fields, beside: object) -> Fields | None:
    """Return the fields that tell the weight format: of the file beside, else of the model's own."""
    if beside is not None:
        file = Fields(as_object(beside, outer.where, "hf_quant_config.json"), outer.where, "hf_quant_config.")
        if file.values.get("quantization") is None:
            raise file.error("quantization", "missing", "give an object with quant_algo")
        return file.within("quantization")
    for fields in (outer, text):
        if fields.values.get("quantization_config") is not None:
            return fields.within("quantization_config")
    return None


def _fp8(given: Fields) -> Format:
    block = given.values.get("weight_block_size")
    return "fp8", None if block is None else _block(given, "weight_block_size", block)


def _mxfp4(given: Fields) -> Format:
    if given.count("group_size", missing=32) != 32:
        raise given.error("group_size", "unknown weight format of this group", "mxfp4 has groups of 32")
    return "mxfp4", None


def _modelopt(given: Fields) -> Format:
    algorithm = given.text("quant_algo")
    if algorithm == "FP8":
        return "fp8", None
    if algorithm in ("NVFP4", "W4A16_NVFP4"):
        return "nvfp4", None
    raise given.error("quant_algo", f"unknown weight format {shown(algorithm)}", "llmplan reads FP8 and NVFP4")


def _bits(given: Fields) -> Format:
    """Read AWQ and GPTQ: whole numbers in groups along the input."""
    if given.values.get("dynamic"):
        raise given.error("dynamic", "a format of its own for some layers", "llmplan reads one for all layers")
    bits = given.count("bits", "w_bit")
    if bits not in (4, 8):
        raise given.error("bits", f"unknown weight format of {bits} bits", "llmplan reads 4 and 8")
    return "int4" if bits == 4 else "int8", _group(given)


def _compressed(given: Fields) -> Format:
    groups = as_object(given.values.get("config_groups"), f"{given.where}: {given.prefix}config_groups", "it")
    found = set()
    for name in groups:
        group = given.within("config_groups").within(name)
        if group.values.get("weights") is None:
            raise group.error("weights", "missing", "give num_bits and type")
        found.add(_compressed_group(group.within("weights"), "mxfp4" in (given.text("format") or "")))
    if len(found) != 1:
        raise given.error("config_groups", f"{len(found)} weight formats", "llmplan reads one for all layers")
    return found.pop()


def _compressed_group(weights: Fields, is_mxfp4: bool) -> Format:
    kind = (weights.count("num_bits"), weights.text("type") or "int")
    if kind == (8, "float"):
        block = weights.values.get("block_structure")
        return "fp8", None if block is None else _block(weights, "block_structure", block)
    if kind == (4, "float") or is_mxfp4:
        return "mxfp4" if is_mxfp4 else "nvfp4", None
    if kind in ((8, "int"), (4, "int")):
        return "int8" if kind[0] == 8 else "int4", _group(weights)
    wrong = f"unknown weight format {shown(kind[1])} of {kind[0]} bits"
    raise weights.error("type", wrong, "llmplan reads float and int of 8 or 4 bits")


def _group(given: Fields) -> tuple[int, int] | None:
    key, size = given.get("group_size", "q_group_size")
    return None if size is None or (type(size) is int and size == -1) else (1, given.count(key))


def _block(given: Fields, key: str, value: object) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        return value[0], value[1]
    raise given.error(key, f"{shown(value)} is no block", "give two whole numbers, such as [128, 128]")


FORMATS: Mapping[str, Callable[[Fields], Format]] = {
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed,
    "awq": _bits,
    "gptq": _bits,
}
"""The readers of weight formats, by `quant_method`."""


def _matrices(text: Fields, family: Family, stack: Stack) -> Iterable[tuple[Module, str, int]]:
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


def _stays(given: Fields) -> Callable[[str], bool]:
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


def _pattern(given: Fields, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise given.error("ignore", f"{shown(text)} is no regular expression", "mend the pattern") from None


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
