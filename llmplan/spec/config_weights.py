"""The format of the weights that a `config.json`, or the `hf_quant_config.json` beside it, describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import Literal, get_args

from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import Fields, as_object, shown
from llmplan.spec.config_keys import HIDDEN, VOCABULARY
from llmplan.spec.config_layers import Stack
from llmplan.spec.model import (
    Compressed,
    Delta,
    Ffn,
    Gqa,
    KvDtype,
    Mamba2,
    Mixer,
    Mla,
    Module,
    Moe,
    State,
    WeightDtype,
    Weights,
)

ALWAYS_BF16: frozenset[Module] = frozenset({"embedding", "router", "norms"})
"""Modules that no format read here quantizes."""
HEAD = "lm_head"
"""The head, which a format takes only where the checkpoint names it."""
Format = tuple[Literal["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"], tuple[int, int] | None]
"""Dtype, and the block of weights that shares a scale where the dtype does not fix it."""
Matrix = tuple[Module, str, int]
"""Module, name in the checkpoint, and size."""
KEPT = ("modules_to_not_convert", "ignored_layers", "exclude_modules", "ignore")
"""Keys that list the modules which are not quantized."""
MIXED = "MIXED_PRECISION"
ALGORITHMS: Mapping[str, Format] = {
    "FP8": ("fp8", None),
    "FP8_PB_WO": ("fp8", (128, 128)),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", None),
    "MXFP8": ("fp8", (1, 32)),
    "NVFP4": ("nvfp4", None),
    "W4A16_NVFP4": ("nvfp4", None),
    "NVFP4_AWQ": ("nvfp4", None),
    "MXFP4": ("mxfp4", None),
    "W4A16_AWQ": ("int4", (1, 128)),
    "W8A16": ("int8", None),
    "W8A8_SQ_PER_CHANNEL": ("int8", None),
}
"""What modelopt calls its formats."""
EXPERT_LEAVES = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
"""What checkpoints in the manner of Mixtral call the matrices of an expert."""
KNOWN = "llmplan reads FP8, MXFP8, NVFP4, MXFP4, W4A16_AWQ, W8A16 and their kin"


def read_weights(
    outer: Fields, text: Fields, quantization: object, family: Family, stack: Stack, tied: bool
) -> Weights:
    """Return the format of the weights; of a head that is `tied` to the embedding there is none."""
    given = _quantization(outer, text, quantization)
    if given is None:
        return Weights()
    method = given.text("quant_method") or ("modelopt" if given.values.get("quant_algo") else None)
    reader = FORMATS.get(method or "")
    if method is None or reader is None:
        known = ", ".join(FORMATS)
        raise given.error("quant_method", f"unknown weight format {shown(method)}", f"llmplan reads {known}")
    dtype, block = reader(given)
    matrices = list(_matrices(text, family, stack))
    if not tied:
        matrices.append(("head", HEAD, text.count(*HIDDEN) * text.count(*VOCABULARY)))
    if method == "mxfp4" and not any(module == "experts" for module, _, _ in matrices):
        raise given.error("quant_method", "mxfp4 without experts to quantize", "give an MoE model")
    named = _named_formats(given)
    format_of = _format_of(given, text, method, dtype, {name: form[0] for name, (form, _) in named.items()})
    blocks = [form[1] for form, _ in named.values() if form[1] is not None]
    narrow = [weight_only for form, weight_only in named.values() if form[0] == "nvfp4"]
    weight_only = all(narrow) if narrow else _is_weight_only(given)
    found = _weights(matrices, format_of, dtype, block or next(iter(blocks), None))
    return found.model_copy(update={"weight_only": weight_only, "kv_dtype": _kv_dtype(given)})


def _is_weight_only(given: Fields) -> bool:
    """Return whether a format of 4-bit floats leaves the activations alone."""
    if given.text("quant_algo") == "W4A16_NVFP4":
        return True
    groups = given.values.get("config_groups")
    if given.text("quant_method") != "compressed-tensors" or not isinstance(groups, Mapping):
        return False
    first = next((group for group in groups.values() if isinstance(group, Mapping)), {})
    weights = first.get("weights")
    floats = isinstance(weights, Mapping) and (weights.get("num_bits"), weights.get("type")) == (4, "float")
    return floats and first.get("input_activations") is None and "mxfp4" not in (given.text("format") or "")


def _format_of(
    given: Fields, text: Fields, method: str, dtype: WeightDtype, named: Mapping[str, WeightDtype]
) -> Callable[[Module, str], WeightDtype]:
    """Return the rule that tells the format of a matrix by its module and its name."""
    if method == "mxfp4":  # the loaders of this format convert experts and nothing else
        return lambda module, _: "mxfp4" if module == "experts" else "bf16"
    if named and method == "fp8":  # experts repacked by modelopt; its exceptions stay what they were
        return lambda module, name: "bf16" if module == "head" else _longest(named, name) or "fp8"
    stays = _stays(given)
    if given.text("quant_algo") == MIXED:
        return lambda _, name: "bf16" if stays(name) else _longest(named, name) or "bf16"
    experts = _expert_dtype(text, dtype)
    return lambda module, name: "bf16" if module == "head" or stays(name) else experts if module == "experts" else dtype


def _expert_dtype(text: Fields, dtype: WeightDtype) -> WeightDtype:
    """Return the format of experts: DeepSeek-V4 keeps them in mxfp4 inside an fp8 file."""
    named = text.text("expert_dtype")
    if named is None:
        return dtype
    formats: Mapping[str, WeightDtype] = {"fp4": "mxfp4", "mxfp4": "mxfp4", "fp8": "fp8", "bf16": "bf16"}
    if named not in formats:
        raise text.error("expert_dtype", f"unknown weight format {shown(named)}", "llmplan reads fp4, fp8 and bf16")
    return formats[named]


def _named_formats(given: Fields) -> dict[str, tuple[Format, bool]]:
    """Return the formats of the layers that `quantized_layers` names, and whether they are of weights only."""
    if given.values.get("quantized_layers") is None:
        return {}
    layers = given.within("quantized_layers")
    found: dict[str, tuple[Format, bool]] = {}
    for name in layers.values:
        algorithm = layers.within(name).text("quant_algo")
        if algorithm is None or algorithm not in ALGORITHMS:
            raise layers.error(name[:60], f"unknown weight format {shown(algorithm)}", KNOWN)
        own = _in_language_model(name)
        if own is not None:
            found[own] = ALGORITHMS[algorithm], algorithm.startswith("W4A16")
    return found


def _longest(named: Mapping[str, WeightDtype], name: str) -> WeightDtype | None:
    """Return the format of the longest part of a name that is listed, by either name of an expert's matrix."""
    parts = name.split(".")
    other = named.get(".".join([*parts[:-1], EXPERT_LEAVES.get(parts[-1], "")]))
    if other is not None:
        return other
    for end in range(len(parts), 0, -1):
        found = named.get(".".join(parts[:end]))
        if found is not None:
            return found
    return None


_OWN = re.compile(r"(?:(?:model|language_model|text_model|backbone|transformer)\.)*")
"""How the names of a language model's matrices begin, before `layers`."""


def _in_language_model(entry: str) -> str | None:
    """Return an entry of a list without what wraps the language model; None for one of a tower or an MTP layer."""
    own = entry[_OWN.match(entry).end() :]  # type: ignore[union-attr]
    elsewhere = "layers." in own and not own.startswith("layers.") and "*" not in own.partition("layers.")[0]
    return None if elsewhere else own


def _weights(
    matrices: Sequence[Matrix],
    format_of: Callable[[Module, str], WeightDtype],
    dtype: WeightDtype,
    block: tuple[int, int] | None,
) -> Weights:
    """Return the formats of all matrices, as shares of their modules."""
    sizes: dict[Module, dict[WeightDtype, int]] = {}
    for module, name, size in matrices:
        formats = sizes.setdefault(module, {})
        found = format_of(module, name)
        formats[found] = formats.get(found, 0) + size
    whole: dict[WeightDtype, int] = {}
    for formats in sizes.values():
        for found, size in formats.items():
            whole[found] = whole.get(found, 0) + size
    quantized = [found for found in whole if found != "bf16"]
    main = max(quantized, key=lambda found: whole[found]) if quantized else dtype
    kept = {module for module, formats in sizes.items() if set(formats) == {"bf16"}}
    if "head" not in sizes:
        kept.add("head")
    mixed = {
        module: {found: round(size / sum(formats.values()), 6) for found, size in sorted(formats.items())}
        for module, formats in sorted(sizes.items())
        if set(formats) not in ({"bf16"}, {main})
    }
    return Weights(dtype=main, scale_block=block, bf16_modules=ALWAYS_BF16 | kept, mixed=mixed)


def _kv_dtype(given: Fields) -> KvDtype | None:
    """Return the KV format that the checkpoint brings scales for."""
    named = given.text("kv_cache_quant_algo")
    if named is not None:
        kv: Mapping[str, KvDtype] = {"FP8": "fp8", "INT8": "int8"}
        return kv.get(named)
    scheme = given.values.get("kv_cache_scheme")
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8" if scheme.get("type") == "float" else "int8"
    return "fp8" if scheme == "FP8" else None


def _quantization(outer: Fields, text: Fields, beside: object) -> Fields | None:
    """Return the fields that tell the weight format: of the file beside, else of the model's own.

    A file beside that only lists what was repacked inside an fp8 checkpoint says less than the model's own.
    """
    own = (f for f in (outer, text) if f.values.get("quantization_config") is not None)
    inside = next((fields.within("quantization_config") for fields in own), None)
    repacked = inside is not None and inside.text("quant_method") == "fp8" and inside.values.get("quantized_layers")
    if beside is not None and not repacked:
        file = Fields(as_object(beside, outer.where, "hf_quant_config.json"), outer.where, "hf_quant_config.")
        if file.values.get("quantization") is None:
            raise file.error("quantization", "missing", "give an object with quant_algo")
        return file.within("quantization")
    return inside


def _fp8(given: Fields) -> Format:
    block = given.values.get("weight_block_size")
    return "fp8", None if block is None else _block(given, "weight_block_size", block)


def _mxfp4(given: Fields) -> Format:
    if given.count("group_size", missing=32) != 32:
        raise given.error("group_size", "unknown weight format of this group", "mxfp4 has groups of 32")
    return "mxfp4", None


def _modelopt(given: Fields) -> Format:
    algorithm = given.text("quant_algo")
    if algorithm == MIXED:
        return "bf16", None
    if algorithm is not None and algorithm in ALGORITHMS:
        return ALGORITHMS[algorithm]
    raise given.error("quant_algo", f"unknown weight format {shown(algorithm)}", KNOWN)


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
    "fbgemm_fp8": _fp8,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed,
    "awq": _bits,
    "gptq": _bits,
}
"""The readers of weight formats, by `quant_method`."""


def _matrices(text: Fields, family: Family, stack: Stack) -> Iterable[Matrix]:
    """Yield module, checkpoint name and size of the matrices that a format may quantize."""
    hidden = text.count(*HIDDEN)
    for layer, (mixer_name, ffn_name) in enumerate(stack.layers):
        if mixer_name is not None:
            mixer = stack.attention[mixer_name]
            is_state = isinstance(mixer, get_args(State))
            path = family.state_path if is_state else family.attention_path
            for part, size in _mixer_matrices(mixer, hidden):
                yield "state" if is_state else "attention", f"layers.{layer}.{path}.{part}", size
        if ffn_name is not None:
            for module, part, size in _ffn_matrices(stack.ffn[ffn_name], hidden, family):
                yield module, f"layers.{layer}.{part}", size


def _ffn_matrices(ffn: Ffn | Moe, hidden: int, family: Family) -> Iterable[Matrix]:
    if isinstance(ffn, Ffn):
        parts = ("gate_proj", "up_proj", "down_proj") if ffn.kind == "gated" else ("up_proj", "down_proj")
        for part in parts:
            yield "ffn", f"{family.block_path}.{part}", hidden * ffn.intermediate_size
        return
    parts = ("gate_proj", "up_proj", "down_proj") if ffn.gated else ("up_proj", "down_proj")
    width = ffn.latent_size or hidden
    if ffn.latent_size:
        for part in ("fc1_latent_proj", "fc2_latent_proj"):
            yield "latent", f"{family.expert_path}.{part}", hidden * width
    for part in parts:
        size = ffn.experts * width * ffn.intermediate_size
        yield "experts", f"{family.expert_path}.experts.0.{part}", size
        if ffn.shared_experts:
            inner = ffn.shared_experts * (ffn.shared_intermediate_size or ffn.intermediate_size)
            yield "shared_experts", f"{family.shared_path}.{part}", hidden * inner


def _mixer_matrices(mixer: Mixer, hidden: int) -> Iterable[tuple[str, int]]:
    """Yield the projections of attention or of a state layer; convolutions, decays and indexers stay as they are."""
    if isinstance(mixer, Gqa):
        query = mixer.heads * mixer.head_dim
        yield "q_proj", hidden * query * (2 if mixer.output_gate == "element" else 1)
        if not mixer.shares_kv:
            yield "k_proj", hidden * mixer.kv_heads * mixer.head_dim
            yield "v_proj", hidden * mixer.kv_heads * (mixer.projected_width - mixer.head_dim)
        yield "o_proj", hidden * mixer.heads * mixer.value_dim
    elif isinstance(mixer, Mla):
        yield from _mla_matrices(mixer, hidden)
    elif isinstance(mixer, Compressed):
        query = mixer.heads * mixer.head_dim
        yield "wq_a", hidden * mixer.q_lora_rank
        yield "wq_b", mixer.q_lora_rank * query
        yield "wkv", hidden * mixer.head_dim
        yield "wo_a", mixer.output_lora_rank * query
        yield "wo_b", hidden * mixer.output_groups * mixer.output_lora_rank
    elif isinstance(mixer, Delta):
        keys, values = mixer.key_heads * mixer.key_head_dim, mixer.value_heads * mixer.value_head_dim
        yield "in_proj_qkv", hidden * (2 * keys + values)
        yield "in_proj_z", hidden * values
        yield "out_proj", hidden * values
    else:
        inner = mixer.heads * mixer.head_dim if isinstance(mixer, Mamba2) else mixer.inner_size
        groups = 2 * mixer.groups * mixer.state_size + mixer.heads if isinstance(mixer, Mamba2) else 0
        yield "in_proj", hidden * (2 * inner + groups)
        yield "out_proj", hidden * inner


def _mla_matrices(attention: Mla, hidden: int) -> Iterable[tuple[str, int]]:
    a = attention
    query, latent = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim), a.kv_lora_rank
    if a.q_lora_rank is None:
        yield "q_proj", hidden * query
    else:
        yield "q_a_proj", hidden * a.q_lora_rank
        yield "q_b_proj", a.q_lora_rank * query
    yield "kv_a_proj_with_mqa", hidden * (latent + a.qk_rope_head_dim)
    yield "kv_b_proj", latent * a.heads * (a.qk_nope_head_dim + a.v_head_dim)
    yield "o_proj", hidden * a.heads * a.v_head_dim


def _stays(given: Fields) -> Callable[[str], bool]:
    """Return the test of whether a matrix is on the list of those not quantized."""
    plain: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for entry in given.texts(*KEPT):
        if entry.startswith("re:"):
            patterns.append(_pattern(given, entry.removeprefix("re:")))
            continue
        own = _in_language_model(entry)
        if own is None:
            continue
        if "*" in own:
            patterns.append(re.compile(f"{translate(own)}|{translate(own + '.*')}"))
        else:
            plain.add(own)

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
