"""The transformer as its `config.json` says: runs of equal layers, attention and feed-forward kinds, formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmplan.spec.base import Count, Fraction, Set, Spec

WeightDtype = Literal["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4"]
KvDtype = Literal["bf16", "fp8", "int8", "int4"]
Module = Literal[
    "embedding", "head", "attention", "state", "ffn", "experts", "shared_experts", "latent", "router", "norms"
]
SHARE_TOLERANCE = 1e-3
Gate = Literal["none", "head", "element"]
"""A learned gate on the output of attention: none, one value a head, one value an element."""
StateDtype = Literal["fp32", "bf16"]


class Indexer(Spec):
    """Scores every cached token with a small key, so that attention reads the best ones only (arXiv 2512.02556)."""

    heads: Count
    head_dim: Count
    """Width of the small key, kept for every token beside the KV."""


class Gqa(Spec):
    """Multi-head attention with grouped keys and values (MHA and MQA are its ends)."""

    kind: Literal["gqa"]
    heads: Count
    kv_heads: Count
    head_dim: Count
    window: Count | None = None
    """Tokens a position can look back (sliding window or chunk); null: all of them."""
    chunked: bool = False
    """The window is a chunk that begins anew every `window` tokens (Llama 4); it is planned for when full."""
    v_head_dim: Count | None = None
    """Width of a value; null: as a key."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "per_head", "full"] = "none"
    """Norm on queries and keys: one weight of `head_dim` each, or one of the full width."""
    sinks: bool = False
    """One learned sink value a head (gpt-oss)."""
    output_gate: Gate = "none"
    k_eq_v: bool = False
    """One projection makes keys and values; both are kept, for only keys are rotated and scaled (Gemma 4)."""
    shares_kv: bool = False
    """Reads the KV of an earlier layer: neither makes nor keeps its own."""
    sparse_tokens: Count | None = None
    """Cached tokens a position reads at most, the best by an indexer; null: all of them."""
    indexer: Indexer | None = None
    """The layer's own indexer; null with `sparse_tokens`: it takes the choice of an earlier layer."""

    @property
    def value_dim(self) -> int:
        """Width of one value."""
        return self.v_head_dim or self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers that one KV head keeps of a token: a key and a value."""
        return self.head_dim + self.value_dim

    @property
    def projected_width(self) -> int:
        """Numbers that the projections of one KV head make of a token."""
        return self.head_dim + (0 if self.k_eq_v else self.value_dim)


class Mla(Spec):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

    kind: Literal["mla"]
    heads: Count
    q_lora_rank: Count | None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count
    output_gate: Gate = "none"
    sparse_tokens: Count | None = None
    """Cached tokens a position reads at most, the best by an indexer; null: all of them."""
    indexer: Indexer | None = None
    """The layer's own indexer; null with `sparse_tokens`: it takes the choice of an earlier layer."""

    @property
    def kv_width(self) -> int:
        """Numbers that are kept of a token, for all heads together: the latent and the rotated part of the key."""
        return self.kv_lora_rank + self.qk_rope_head_dim


class Compressed(Spec):
    """A sliding window over shared keys and values, and one entry for every few tokens before it (DeepSeek-V4)."""

    kind: Literal["compressed"]
    heads: Count
    head_dim: Count
    """Width of the one key that all heads share; it serves as value too."""
    q_lora_rank: Count
    output_groups: Count
    output_lora_rank: Count
    """Width of each group of heads on its way to the output."""
    window: Count
    compress_ratio: Count | None = None
    """Tokens in one compressed entry; null: the layer sees its window only."""
    sparse_tokens: Count | None = None
    """Tokens behind the entries that a position reads at most; null: all of them."""
    indexer: Indexer | None = None
    """Chooses among the entries; its layers compress overlapping groups, at twice the width."""


class Delta(Spec):
    """Linear attention by the gated delta rule: a fixed state of key x value for each head, no KV.

    Gated DeltaNet (arXiv 2412.06464) decays a head as one, Kimi Delta Attention (arXiv 2510.26692) every channel.
    """

    kind: Literal["delta"]
    key_heads: Count
    value_heads: Count
    key_head_dim: Count
    value_head_dim: Count
    conv_kernel: Count
    decay: Literal["head", "channel"] = "head"
    low_rank_gate: bool = False
    """The output gate is a product of two matrices with `key_head_dim` between them."""
    state_dtype: StateDtype = "fp32"


class Mamba2(Spec):
    """State space layer of Mamba-2 (arXiv 2405.21060): a state of head x state size for each head, no KV."""

    kind: Literal["mamba2"]
    heads: Count
    head_dim: Count
    state_size: Count
    groups: Count
    conv_kernel: Count
    state_dtype: StateDtype = "fp32"


class Mamba1(Spec):
    """State space layer of Mamba (arXiv 2312.00752): a state for each inner channel, no KV."""

    kind: Literal["mamba1"]
    inner_size: Count
    state_size: Count
    dt_rank: Count
    conv_kernel: Count
    inner_norms: bool = False
    """Norms on the step width and on both state projections (Jamba)."""
    state_dtype: StateDtype = "fp32"


class Ffn(Spec):
    """A dense feed-forward block: `gated` has three matrices, `plain` two."""

    kind: Literal["gated", "plain"]
    intermediate_size: Count
    bias: bool = False
    activation_weights: Annotated[int, Field(ge=0)] = 0
    """Learned numbers in the activation (xIELU: 2)."""


class Moe(Spec):
    """A mixture of experts, some of them always on."""

    kind: Literal["moe"]
    experts: Count
    experts_per_token: Count
    intermediate_size: Count
    """Width of one routed expert."""
    gated: bool = True
    """Experts have three matrices; without a gate, two."""
    latent_size: Count | None = None
    """Routed experts read and write vectors of this width, between two projections; null: the hidden size."""
    latent_norm: bool = False
    shared_experts: Annotated[int, Field(ge=0)] = 0
    shared_intermediate_size: Count | None = None
    """Width of one shared expert; null: as a routed one."""
    shared_gate: bool = False
    """One learned gate on the output of the shared experts."""
    router_bias: bool = False
    """One number more for each expert: a bias on its score, or a scale (Gemma 4)."""
    expert_bias: bool = False

    @model_validator(mode="after")
    def _top_k_exists(self) -> Moe:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} exceeds experts {self.experts}")
        return self

    @property
    def matrices(self) -> int:
        """Matrices of one expert."""
        return 3 if self.gated else 2


State = Delta | Mamba2 | Mamba1
"""Mixers that keep a state of fixed size and no KV."""
Mixer = Gqa | Mla | Compressed | State
"""What lets the tokens of a sequence see each other."""
Attention = Annotated[Mixer, Field(discriminator="kind")]
FeedForward = Annotated[Ffn | Moe, Field(discriminator="kind")]


class LayerRun(Spec):
    """`count` equal layers in a row."""

    count: Count
    attention: str | None = None
    """Name of an entry of `attention`; null: the layer has none."""
    ffn: str | None = None
    """Name of an entry of `ffn`; null: the layer has none."""

    @model_validator(mode="after")
    def _does_something(self) -> LayerRun:
        if self.attention is None and self.ffn is None:
            raise ValueError("a layer needs attention, ffn or both")
        return self


class Repeated(Spec):
    """The same few runs again and again: the pattern of a hybrid."""

    repeat: Count
    layers: tuple[LayerRun, ...] = Field(min_length=1)


class Weights(Spec):
    """The format of the published checkpoint."""

    dtype: WeightDtype = "bf16"
    scale_block: tuple[Count, Count] | None = None
    """Block of weights that shares one scale (fp8: 128 x 128)."""
    bf16_modules: Set[Module] = frozenset({"embedding", "head", "router", "norms"})
    """Modules that stay in bf16 when the rest is quantized."""
    mixed: Mapping[Module, Mapping[WeightDtype, Fraction]] = {}
    """Modules in another format, or in several: the share of their weights in each."""
    weight_only: bool = False
    """Activations stay in 16 bit, and so does the arithmetic (W4A16); int8, int4 and mxfp4 are so anyway."""
    kv_dtype: KvDtype | None = None
    """KV format that the checkpoint brings scales for; null: none."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Weights:
        for module, shares in self.mixed.items():
            if module in self.bf16_modules:
                raise ValueError(f"mixed: {module} is in bf16_modules too; keep one")
            if abs(sum(shares.values()) - 1) > SHARE_TOLERANCE:
                raise ValueError(f"mixed: the shares of {module} add up to {sum(shares.values()):.4g}; want 1")
        return self

    def shares(self, module: Module) -> Mapping[WeightDtype, float]:
        """Return the share of a module's weights in each format."""
        if module in self.bf16_modules:
            return {"bf16": 1.0}
        return self.mixed.get(module, {self.dtype: 1.0})


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
    layers: tuple[LayerRun | Repeated, ...] = Field(min_length=1)
    """Runs of equal layers, in order; runs that repeat are written once."""
    norms_per_layer: Count = 2
    """Of a layer with attention and ffn; one with a single block has half of them."""
    norm_bias: bool = False
    """Norms have a bias (layer norm)."""
    norm_weights: bool = True
    """Norms have a weight (OLMo's have none)."""
    embedding_norm: bool = False
    """A norm on the embedding (BLOOM)."""
    head_bias: bool = False
    position_embeddings: Annotated[int, Field(ge=0)] = 0
    """Rows of a learned table of positions."""
    residual_streams: Count = 1
    """Copies of the residual stream, mixed before and after each block (hyper-connections, arXiv 2409.19606)."""
    mtp_layers: Annotated[int, Field(ge=0)] = 0
    """Multi-token-prediction layers of the checkpoint; not loaded without speculation."""
    vision_parameters: Annotated[int, Field(ge=0)] = 0
    """Parameters of a vision tower, loaded but not used by text requests."""
    published_parameters: Count | None = None
    """Published count (text model, without MTP layers): what the formula is checked against."""
    source: str

    @model_validator(mode="after")
    def _runs_name_blocks(self) -> Model:
        for run in self.layers_in_order():
            if run.attention is not None and run.attention not in self.attention:
                raise ValueError(f"layers: no attention {run.attention!r}; pick one of {sorted(self.attention)}")
            if run.ffn is not None and run.ffn not in self.ffn:
                raise ValueError(f"layers: no ffn {run.ffn!r}; pick one of {sorted(self.ffn)}")
        return self

    @property
    def layer_count(self) -> int:
        """Layers of the whole model."""
        return sum(run.count for run in self.layers_in_order())

    def layers_in_order(self) -> Iterator[LayerRun]:
        """Yield the runs of equal layers, repeated ones each time."""
        for entry in self.layers:
            if isinstance(entry, Repeated):
                yield from entry.layers * entry.repeat
            else:
                yield entry

    def runs(self) -> Iterator[tuple[Mixer | None, Ffn | Moe | None, int]]:
        """Yield attention, ffn and number of the layers that are alike."""
        counts: dict[tuple[str | None, str | None], int] = {}
        for run in self.layers_in_order():
            key = (run.attention, run.ffn)
            counts[key] = counts.get(key, 0) + run.count
        for (attention, ffn), count in counts.items():
            yield self.attention[attention] if attention else None, self.ffn[ffn] if ffn else None, count

    def norms_of(self, attention: Mixer | None, ffn: Ffn | Moe | None) -> int:
        """Return the norms of a layer with these blocks."""
        both = attention is not None and ffn is not None
        return self.norms_per_layer if both else -(-self.norms_per_layer // 2)
