"""What people ask of a model before they plan: parameters, bytes of weights, KV of a token, state of a sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmplan.perf.formats import KV_BYTES, bytes_per_weight
from llmplan.spec.caches import INDEX_BYTES, kept, state_bytes
from llmplan.spec.model import Compressed, Delta, Ffn, Gqa, Mamba1, Mamba2, Mixer, Mla, Model, Module, Moe
from llmplan.spec.parameters import active_parameters, mtp_parameters, parameters
from llmplan.units import brief, significant


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model's counts, as numbers and as text."""

    model: Model
    document: dict[str, Any]
    rows: list[tuple[str, str]]

    @property
    def parameters_text(self) -> str:
        """Total parameters for people."""
        return counted(self.document["parameters"]["total"])

    @property
    def active_text(self) -> str:
        """Parameters that one token uses."""
        return counted(self.document["parameters"]["active"])

    @property
    def attention_text(self) -> str:
        """Kinds of attention, in one word each."""
        return ", ".join(dict.fromkeys(_attention(a) for a in self.model.attention.values()))


def facts(model: Model) -> ModelFacts:
    """Return what is known of a model, by part."""
    counts = parameters(model)
    total, active, mtp = sum(counts.values()), active_parameters(model), mtp_parameters(model)
    weights = weight_bytes(model, counts)
    kv, state = kv_bytes_per_token(model), state_of_sequence_bytes(model)
    modules = {str(module): count for module, count in counts.items()}
    document = {
        "parameters": {**modules, "total": total, "active": active, "mtp": mtp, "vision": model.vision_parameters},
        "weights_bytes": weights,
        "kv_bytes_per_token": kv,
        "state_bytes": state,
    }
    rows = [
        ("parameters", f"{counted(total)} ({total:,}); {counted(active)} active"),
        *((f"  {module.replace('_', ' ')}", counted(n)) for module, n in counts.items() if n),
    ]
    if model.vision_parameters:
        rows.append(("vision tower", f"about {counted(model.vision_parameters)} beside them, loaded with the model"))
    if mtp:
        heads = "head" if model.mtp_layers == 1 else "heads"
        rows.append(("MTP", f"{model.mtp_layers} {heads}, {counted(mtp)} beside them, loaded for speculation only"))
    rows += [
        ("weights", f"{brief(weights, 'B')} as published ({_formats(model)})"),
        ("attention", "; ".join(_attention(a) for a in model.attention.values())),
        ("feed-forward", "; ".join(_ffn(f) for f in model.ffn.values()) or "none"),
        ("KV of one token", f"{brief(kv['all_layers'], 'B')} in bf16"),
    ]
    if model.weights.kv_dtype:
        rows.append(("  scales for", f"{model.weights.kv_dtype} KV, in the checkpoint"))
    if kv["window_layers"]:
        rows.append(("  of it with a window", brief(kv["window_layers"], "B")))
    if kv["index"]:
        rows.append(("  of it for indexers", brief(kv["index"], "B")))
    if state:
        rows.append(("state of one sequence", f"{brief(state, 'B')}, whatever its length"))
    return ModelFacts(model=model, document=document, rows=rows)


def weight_bytes(model: Model, counts: Mapping[Module, int]) -> float:
    """Return the bytes of the text model's checkpoint, each module in its formats, scales included."""
    form = model.weights
    total = 0.0
    for module, count in counts.items():
        for dtype, share in form.shares(module).items():
            total += count * share * bytes_per_weight(dtype, form.scale_block)
    return total


def kv_bytes_per_token(model: Model) -> dict[str, float]:
    """Return the bytes one token keeps over all layers in bf16, and the parts of it with a window and for indexers."""
    found = {"all_layers": 0.0, "window_layers": 0.0, "index": 0.0}
    for mixer, _, count in model.runs():
        for part in kept(mixer) if mixer is not None else ():
            one = count * part.values * (INDEX_BYTES if part.index else KV_BYTES["bf16"])
            found["all_layers"] += one
            found["window_layers"] += one if math.isfinite(part.back) else 0.0
            found["index"] += one if part.index else 0.0
    return found


def state_of_sequence_bytes(model: Model) -> float:
    """Return the bytes of the fixed states that one sequence keeps over all layers."""
    return sum(count * state_bytes(mixer) for mixer, _, count in model.runs() if mixer is not None)


def counted(number: float) -> str:
    """Return a count for people: 70.6 B, 2.78 T, 8.03 B, 350 M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{significant(number / size)} {letter}"
    return f"{number:g}"


def _formats(model: Model) -> str:
    """Return the formats of the checkpoint, the modules that differ named."""
    told: list[str] = [model.weights.dtype]
    for module, shares in model.weights.mixed.items():
        parts = " + ".join(f"{share:.0%} {dtype}" if share < 1 else dtype for dtype, share in shares.items())
        told.append(f"{module.replace('_', ' ')} {parts}")
    block = model.weights.scale_block
    scales = f"; scales for {block[0]} x {block[1]}" if block else ""
    return ", ".join(told) + scales


def _attention(mixer: Mixer) -> str:
    if isinstance(mixer, Gqa):
        kind = "MHA" if mixer.heads == mixer.kv_heads else "MQA" if mixer.kv_heads == 1 else "GQA"
        size = f"{mixer.head_dim}" if mixer.value_dim == mixer.head_dim else f"{mixer.head_dim}+{mixer.value_dim}"
        back = f", {'chunk' if mixer.chunked else 'window'} {mixer.window}" if mixer.window else ""
        return f"{kind} {mixer.heads}/{mixer.kv_heads} x {size}{back}{_sparse(mixer.sparse_tokens)}"
    if isinstance(mixer, Mla):
        latent = f"{mixer.kv_lora_rank}+{mixer.qk_rope_head_dim}"
        own = "" if mixer.indexer or not mixer.sparse_tokens else " of an earlier layer"
        return f"MLA {mixer.heads} heads, latent {latent}{_sparse(mixer.sparse_tokens)}{own}"
    if isinstance(mixer, Compressed):
        entries = f", 1 entry for {mixer.compress_ratio} tokens" if mixer.compress_ratio else ""
        return f"{mixer.heads} heads x {mixer.head_dim}, window {mixer.window}{entries}{_sparse(mixer.sparse_tokens)}"
    return _state(mixer)


def _sparse(tokens: int | None) -> str:
    return f", best {tokens} tokens" if tokens else ""


def _state(mixer: Delta | Mamba2 | Mamba1) -> str:
    if isinstance(mixer, Delta):
        kind = "gated delta" if mixer.decay == "head" else "KDA"
        return f"{kind} {mixer.value_heads} heads, state {mixer.key_head_dim} x {mixer.value_head_dim}"
    if isinstance(mixer, Mamba2):
        return f"Mamba-2 {mixer.heads} heads, state {mixer.head_dim} x {mixer.state_size}"
    return f"Mamba {mixer.inner_size} channels, state {mixer.state_size}"


def _ffn(ffn: Ffn | Moe) -> str:
    if isinstance(ffn, Ffn):
        return f"{ffn.kind} {ffn.intermediate_size}"
    latent = f" in latents of {ffn.latent_size}" if ffn.latent_size else ""
    routed, width = f"MoE {ffn.experts_per_token} of {ffn.experts}", ffn.intermediate_size
    wide = ffn.shared_intermediate_size or width
    if ffn.shared_experts and wide != width:
        return f"{routed} x {width}{latent} + {ffn.shared_experts} shared x {wide}"
    shared = f" + {ffn.shared_experts} shared" if ffn.shared_experts else ""
    return f"{routed}{shared} x {width}{latent}"
