"""What the code of an architecture fixes and its `config.json` leaves unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmplan.spec.model import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the code of an architecture fixes and its `config.json` leaves unsaid."""

    name: str
    mixers: str = "gqa"
    """Reader of attention and states, by its name in `config_layers.MIXERS`."""
    ffns: str = "dense"
    """Reader of feed-forward blocks, by its name in `config_ffns.READERS`."""
    understands: str = ""
    """Pattern of those keys of `BEYOND` that mean something here."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias whatever `attention_bias` says."""
    attention_bias: bool = False
    """A missing `attention_bias`."""
    output_bias: bool = True
    """`attention_bias` means the output projection too."""
    biases: tuple[str, ...] = ("attention_bias", "bias", "use_bias", "enable_bias")
    """Keys by which a file gives attention its biases."""
    qk_norm: Literal["none", "per_head", "full"] = "none"
    use_qk_norm: bool = True
    """A missing `use_qk_norm`, for a family with such a norm."""
    output_gate: Gate = "none"
    sinks: bool = False
    norms_per_layer: int = 2
    sparse_norms: int = 0
    """Norms more in a layer with experts."""
    parallel_norms: int = 1
    """Norms of a layer whose file says `use_parallel_residual`."""
    norm_bias: bool = False
    norm_weights: bool = True
    embedding_norm: bool = False
    head_bias: bool = False
    ffn_bias: bool = False
    activation_weights: int = 0
    """Learned numbers in the activation of a feed-forward block."""
    plain_ffn: bool = False
    """Feed-forward blocks have no gate."""
    wide_ffn: int = 1
    """`intermediate_size` is so many times the width (Qwen 1)."""
    positions: int | None = None
    """Rows that a learned table of positions has beyond the context; null: no such table."""
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
    expert_width: str = "moe_intermediate_size"
    """Key of an expert's width."""
    dense_width: str = "intermediate_size"
    """Key of the width of dense layers beside the experts."""
    gated_experts: bool = True
    shared_gate: bool = False
    always_shared: int = 0
    """Shared experts that no key counts."""
    router_bias: bool = False
    """A missing `topk_method` and `use_routing_bias`."""
    expert_bias: bool = False
    block_path: str = "mlp"
    """Name of the feed-forward block in the checkpoint."""
    expert_path: str = "mlp"
    """Name of the block of experts in the checkpoint."""
    shared_path: str = "mlp.shared_experts"
    attention_path: str = "self_attn"
    state_path: str = "linear_attn"
    defaults: Mapping[str, int] = field(default_factory=dict)
    """Values that published files of this architecture leave out."""
