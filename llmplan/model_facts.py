"""What people ask of a model before they plan: parameters, bytes of weights, KV of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmplan.perf.formats import KV_BYTES, WEIGHT_BYTES
from llmplan.spec.model import Gqa, Model, Moe
from llmplan.spec.parameters import active_parameters, parameters
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
    total, active = sum(counts.values()), active_parameters(model)
    weights = weight_bytes(model, counts)
    kv = kv_bytes_per_token(model)
    document = {
        "parameters": {**counts, "total": total, "active": active},
        "weights_bytes": weights,
        "kv_bytes_per_token": kv,
    }
    rows = [
        ("parameters", f"{counted(total)} ({total:,}); {counted(active)} active"),
        *((f"  {module.replace('_', ' ')}", counted(n)) for module, n in counts.items() if n),
        ("weights", f"{brief(weights, 'B')} as published ({model.weights.dtype})"),
        ("attention", "; ".join(_attention(a) for a in model.attention.values())),
        ("feed-forward", "; ".join(_ffn(f) for f in model.ffn.values())),
        ("KV of one token", f"{brief(kv['all_layers'], 'B')} in bf16"),
    ]
    if kv["window_layers"]:
        rows.append(("  of it with a window", brief(kv["window_layers"], "B")))
    return ModelFacts(model=model, document=document, rows=rows)


def weight_bytes(model: Model, counts: dict[str, int]) -> float:
    """Return the bytes of the checkpoint: its format, and 16 bit for modules that keep it."""
    quantized = WEIGHT_BYTES[model.weights.dtype]
    kept = model.weights.bf16_modules if model.weights.dtype != "bf16" else frozenset()
    return sum(n * (WEIGHT_BYTES["bf16"] if module in kept else quantized) for module, n in counts.items())


def kv_bytes_per_token(model: Model) -> dict[str, float]:
    """Return the bytes one token keeps over all layers in bf16, and the part of layers with a window."""
    every, windowed = 0.0, 0.0
    for (name, _), count in model.blocks().items():
        attention = model.attention[name]
        heads = attention.kv_heads if isinstance(attention, Gqa) else 1
        kept = count * heads * attention.kv_width * KV_BYTES["bf16"]
        every += kept
        if isinstance(attention, Gqa) and attention.window:
            windowed += kept
    return {"all_layers": every, "window_layers": windowed}


def counted(number: float) -> str:
    """Return a count for people: 70.6 B, 671 B, 8.03 B, 350 M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{significant(number / size)} {letter}"
    return f"{number:g}"


def _attention(attention: Any) -> str:
    if not isinstance(attention, Gqa):
        return f"MLA {attention.heads} heads, latent {attention.kv_lora_rank}+{attention.qk_rope_head_dim}"
    kind = "MHA" if attention.heads == attention.kv_heads else "GQA"
    window = f", window {attention.window}" if attention.window else ""
    return f"{kind} {attention.heads}/{attention.kv_heads} x {attention.head_dim}{window}"


def _ffn(ffn: Any) -> str:
    if isinstance(ffn, Moe):
        shared = f" + {ffn.shared_experts} shared" if ffn.shared_experts else ""
        return f"MoE {ffn.experts_per_token} of {ffn.experts}{shared} x {ffn.intermediate_size}"
    return f"{ffn.kind} {ffn.intermediate_size}"
