"""The transformer as its `config.json` says: runs of equal layers, attention and feed-forward kinds, formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmplan.spec.base import Count, Set, Spec

WeightDtype = Literal["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"]
KvDtype = Literal["bf16", "fp8", "int8", "int4"]
Module = Literal["embedding", "head", "attention", "ffn", "experts", "shared_experts", "router", "norms"]


class Gqa(Spec):
    """Multi-head attention with grouped keys and values (MHA and MQA are its ends)."""

    kind: Literal["gqa"]
    heads: Count
    kv_heads: Count
    head_dim: Count
    window: Count | None = None
    """Tokens a position can look back (sliding window or chunk); null: all of them."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "per_head", "full"] = "none"
    """Norm on queries and keys: one weight of `head_dim` each, or one of the full width."""
    sinks: bool = False
    """One learned sink value a head (gpt-oss)."""
    k_eq_v: bool = False
    """Keys serve as values: half the KV cache."""

    @property
    def kv_width(self) -> int:
        """Numbers that one KV head makes and keeps of a token: a key and a value, or one for both."""
        return self.head_dim * (1 if self.k_eq_v else 2)


class Mla(Spec):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

    kind: Literal["mla"]
    heads: Count
    q_lora_rank: Count | None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count

    @property
    def kv_width(self) -> int:
        """Numbers that are kept of a token, for all heads together: the latent and the rotated part of the key."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class Ffn(Spec):
    """A dense feed-forward block: `gated` has three matrices, `plain` two."""

    kind: Literal["gated", "plain"]
    intermediate_size: Count
    bias: bool = False


class Moe(Spec):
    """A mixture of gated experts, some of them always on."""

    kind: Literal["moe"]
    experts: Count
    experts_per_token: Count
    intermediate_size: Count
    """Width of one routed expert."""
    shared_experts: Annotated[int, Field(ge=0)] = 0
    shared_intermediate_size: Count | None = None
    """Width of one shared expert; null: as a routed one."""
    router_bias: bool = False
    expert_bias: bool = False

    @model_validator(mode="after")
    def _top_k_exists(self) -> Moe:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} exceeds experts {self.experts}")
        return self


Attention = Annotated[Gqa | Mla, Field(discriminator="kind")]
FeedForward = Annotated[Ffn | Moe, Field(discriminator="kind")]


class LayerRun(Spec):
    """`count` equal layers in a row."""

    count: Count
    attention: str
    """Name of an entry of `attention`."""
    ffn: str
    """Name of an entry of `ffn`."""


class Weights(Spec):
    """The format of the published checkpoint."""

    dtype: WeightDtype = "bf16"
    scale_block: tuple[Count, Count] | None = None
    """Block of weights that shares one scale (fp8: 128 x 128)."""
    bf16_modules: Set[Module] = frozenset({"embedding", "head", "router", "norms"})
    """Modules that stay in bf16 when the rest is quantized."""


class Model(Spec):
    """One model, normalized."""

    name: str
    hf_id: str
    aliases: tuple[str, ...] = ()
    family: str
    """Models that share an architecture and its kernels (`llama`, `qwen3`, `deepseek`)."""
    hidden_size: Count
    vocab_size: Count
    tie_embeddings: bool
    max_context_tokens: Count
    weights: Weights = Weights()
    attention: Mapping[str, Attention]
    ffn: Mapping[str, FeedForward]
    layers: tuple[LayerRun, ...] = Field(min_length=1)
    """Runs of equal layers, in order."""
    norms_per_layer: Count = 2
    mtp_layers: Annotated[int, Field(ge=0)] = 0
    """Multi-token-prediction layers of the checkpoint; not loaded without speculation."""
    vision_parameters: Annotated[int, Field(ge=0)] = 0
    """Parameters of a vision tower, loaded but not used by text requests."""
    published_parameters: Count | None = None
    """Published count (text model, without MTP layers): what the formula is checked against."""
    source: str

    @model_validator(mode="after")
    def _runs_name_blocks(self) -> Model:
        for run in self.layers:
            if run.attention not in self.attention:
                raise ValueError(f"layers: no attention {run.attention!r}; pick one of {sorted(self.attention)}")
            if run.ffn not in self.ffn:
                raise ValueError(f"layers: no ffn {run.ffn!r}; pick one of {sorted(self.ffn)}")
        return self

    @property
    def layer_count(self) -> int:
        """Layers of the whole model."""
        return sum(run.count for run in self.layers)

    def blocks(self) -> dict[tuple[str, str], int]:
        """Return how many layers there are of each (attention, ffn) pair."""
        counts: dict[tuple[str, str], int] = {}
        for run in self.layers:
            key = (run.attention, run.ffn)
            counts[key] = counts.get(key, 0) + run.count
        return counts
