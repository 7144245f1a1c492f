"""How many parameters a model has, by module: a count of weights, without any time."""

from __future__ import annotations

from llmplan.spec.model import (
    Compressed,
    Delta,
    Ffn,
    Gqa,
    Indexer,
    Mamba1,
    Mamba2,
    Mixer,
    Mla,
    Model,
    Module,
    Moe,
    State,
)


def parameters(model: Model) -> dict[Module, int]:
    """Return how many parameters each module of the text model has; the whole is their sum.

    Parameters
    ----------
    model : Model
        Any model of the catalog.

    Returns
    -------
    dict
        Every `Module` with its count; `head` is 0 where it is tied to the embedding.

    Notes
    -----
    With h the hidden size, V the vocabulary, n norms a layer, each of one weight an element (two with a bias, none
    without weights)::

        embedding       V·h, a table of positions, a norm on the embedding
        head            V·h, or 0 when tied; V with a bias
        attention       projections, their biases, sinks, gates, indexers, and the norms of queries, keys and latents
        state           the same of linear attention and state space layers, with their convolutions and decays
        ffn             dense layers: 3·h·f gated, 2·h·f plain, biases, numbers of a learned activation
        experts         E·m·w·fe, m = 3 matrices (2 without a gate), w = h or the latent size, and their biases
        latent          2·h·w between hidden and latent size
        shared_experts  S·m·h·fs, and h with a gate
        router          h·E, and E with a router bias
        norms           Σ n·h + h; with r residual streams also their mixing, 2·((2 + r)·r·r·h + (2 + r)·r + 3) a layer

    Norms inside the attention belong to `attention`, since they are shared out among GPUs with its heads. MTP
    layers and a vision tower are not counted.
    """
    h = model.hidden_size
    norm = h * (model.norm_weights + model.norm_bias)
    counts: dict[Module, int] = {
        "embedding": (model.vocab_size + model.position_embeddings) * h + norm * model.embedding_norm,
        "head": (0 if model.tie_embeddings else model.vocab_size * h) + model.vocab_size * model.head_bias,
        "attention": 0,
        "state": 0,
        "ffn": 0,
        "experts": 0,
        "latent": 0,
        "shared_experts": 0,
        "router": 0,
        "norms": norm + _stream_parameters(model),
    }
    for mixer, ffn, layers in model.runs():
        counts["norms"] += layers * model.norms_of(mixer, ffn) * norm
        if mixer is not None:
            counts["state" if isinstance(mixer, State) else "attention"] += layers * mixer_parameters(mixer, h)
        if ffn is not None:
            for module, count in ffn_parameters(ffn, h).items():
                counts[module] += layers * count
    return counts


def active_parameters(model: Model) -> int:
    """Return how many parameters one token meets: all of them, with the chosen experts for all experts.

    Parameters
    ----------
    model : Model
        Any model of the catalog.

    Returns
    -------
    int
        The embedding included. Published figures differ in that: gpt-oss-120b is 5.71 B by this count, and
        5.13 B without its input embedding.
    """
    idle = 0
    for _, ffn, layers in model.runs():
        if isinstance(ffn, Moe):
            idle += layers * (ffn.experts - ffn.experts_per_token) * _expert_parameters(ffn, model.hidden_size)
    return sum(parameters(model).values()) - idle


def mtp_parameters(model: Model) -> int:
    """Return the parameters of the multi-token-prediction layers of the checkpoint, without a second embedding.

    Each is taken as a layer with the last attention and the last feed-forward block of the model, and a projection of
    hidden state and embedding together, with three norms (DeepSeek-V3, arXiv 2412.19437).
    """
    h = model.hidden_size
    mixers = [m for m, _, _ in model.runs() if m is not None and not isinstance(m, State)]
    ffns = [f for _, f, _ in model.runs() if f is not None]
    layer = sum(mixer_parameters(m, h) for m in mixers[-1:]) + sum(
        count for ffn in ffns[-1:] for count in ffn_parameters(ffn, h).values()
    )
    return model.mtp_layers * (layer + 2 * h * h + (model.norms_per_layer + 3) * h)


def mixer_parameters(mixer: Mixer, hidden_size: int) -> int:
    """Return the parameters of one attention or state block.

    Parameters
    ----------
    mixer : Mixer
        The block.
    hidden_size : int
        Width of the residual stream.

    Returns
    -------
    int
    """
    if isinstance(mixer, Gqa):
        return _gqa_parameters(mixer, hidden_size)
    if isinstance(mixer, Mla):
        return _mla_parameters(mixer, hidden_size)
    if isinstance(mixer, Compressed):
        return _compressed_parameters(mixer, hidden_size)
    if isinstance(mixer, Delta):
        return _delta_parameters(mixer, hidden_size)
    if isinstance(mixer, Mamba2):
        return _mamba2_parameters(mixer, hidden_size)
    return _mamba1_parameters(mixer, hidden_size)


def ffn_parameters(ffn: Ffn | Moe, hidden_size: int) -> dict[Module, int]:
    """Return the parameters of one feed-forward block, by module.

    Parameters
    ----------
    ffn : Ffn or Moe
        The block.
    hidden_size : int
        Width of the residual stream.

    Returns
    -------
    dict
    """
    h = hidden_size
    if isinstance(ffn, Moe):
        shared_width = ffn.shared_intermediate_size or ffn.intermediate_size
        latent = ffn.latent_size or 0
        return {
            "experts": ffn.experts * _expert_parameters(ffn, h),
            "latent": 2 * h * latent + latent * ffn.latent_norm,
            "shared_experts": ffn.shared_experts * ffn.matrices * h * shared_width + h * ffn.shared_gate,
            "router": ffn.experts * (h + ffn.router_bias),
        }
    matrices = 3 if ffn.kind == "gated" else 2
    bias = (matrices - 1) * ffn.intermediate_size + h if ffn.bias else 0
    return {"ffn": matrices * h * ffn.intermediate_size + bias + ffn.activation_weights}


def _expert_parameters(moe: Moe, h: int) -> int:
    """Return the parameters of one routed expert."""
    width = moe.latent_size or h
    bias = (moe.matrices - 1) * moe.intermediate_size + width if moe.expert_bias else 0
    return moe.matrices * width * moe.intermediate_size + bias


def _stream_parameters(model: Model) -> int:
    """Return the parameters that mix several residual streams before and after each block, and at the end."""
    r, h = model.residual_streams, model.hidden_size
    if r == 1:
        return 0
    block = (2 + r) * r * r * h + (2 + r) * r + 3
    return 2 * model.layer_count * block + r * r * h + r + 1


def _gate_parameters(gate: str, h: int, heads: int, width: int) -> int:
    return {"none": 0, "head": h * heads, "element": h * heads * width}[gate]


def _gqa_parameters(attention: Gqa, h: int) -> int:
    a = attention
    queries, outputs = a.heads * a.head_dim, a.heads * a.value_dim
    keys = 0 if a.shares_kv else a.kv_heads * a.head_dim
    made = 0 if a.shares_kv else a.kv_heads * a.projected_width
    key_norm = 0 if a.shares_kv else a.head_dim
    norm = {"none": 0, "per_head": a.head_dim + key_norm, "full": queries + keys}[a.qk_norm]
    bias = (queries + made) * a.qkv_bias + h * a.output_bias
    bias += outputs * (a.qkv_bias and a.output_gate == "element")
    index = 0
    if a.indexer is not None:  # queries from the hidden state, no weights of its heads (MiniMax-M3)
        index = h * (a.indexer.heads + 1) * a.indexer.head_dim + 2 * a.indexer.head_dim
    gate = _gate_parameters(a.output_gate, h, a.heads, a.value_dim)
    return h * (queries + made + outputs) + bias + norm + a.heads * a.sinks + gate + index


def _mla_parameters(attention: Mla, h: int) -> int:
    a = attention
    queries = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    q = a.q_lora_rank
    query_side = h * queries if q is None else h * q + q + q * queries
    latent = h * a.kv_width + a.kv_lora_rank
    expand = a.kv_lora_rank * a.heads * (a.qk_nope_head_dim + a.v_head_dim)
    gate = _gate_parameters(a.output_gate, h, a.heads, a.v_head_dim)
    index = 0 if a.indexer is None else _indexer_parameters(a.indexer, q or h, h)
    return query_side + latent + expand + a.heads * a.v_head_dim * h + gate + index


def _indexer_parameters(indexer: Indexer, query_width: int, h: int) -> int:
    """Return queries from the latent, one key, a weight for each head, and a layer norm on the key."""
    i = indexer
    return query_width * i.heads * i.head_dim + h * i.head_dim + h * i.heads + 2 * i.head_dim


def _compressed_parameters(attention: Compressed, h: int) -> int:
    a = attention
    queries = a.heads * a.head_dim
    query_side = h * a.q_lora_rank + a.q_lora_rank + a.q_lora_rank * queries
    key = h * a.head_dim + a.head_dim
    output = a.output_lora_rank * queries + h * a.output_groups * a.output_lora_rank
    total = query_side + key + output + a.heads
    if a.compress_ratio is None:
        return total
    overlap = 1 if a.indexer is None else 2
    total += _compressor_parameters(a.head_dim, overlap, a.compress_ratio, h)
    if a.indexer is not None:
        i = a.indexer
        total += _compressor_parameters(i.head_dim, overlap, a.compress_ratio, h)
        total += a.q_lora_rank * i.heads * i.head_dim + h * i.heads
    return total


def _compressor_parameters(width: int, overlap: int, ratio: int, h: int) -> int:
    """Return entries and their gates, both of `overlap` groups, a bias for each place in a group, and a norm."""
    return overlap * width * (2 * h + ratio) + width


def _delta_parameters(mixer: Delta, h: int) -> int:
    m = mixer
    keys, values = m.key_heads * m.key_head_dim, m.value_heads * m.value_head_dim
    mixed = 2 * keys + values
    beta = h * m.value_heads
    if m.decay == "head":
        decay = h * m.value_heads + 2 * m.value_heads
    else:
        decay = m.key_head_dim * (h + keys) + keys + m.key_heads
    gate = m.key_head_dim * (h + values) if m.low_rank_gate else h * values
    return h * mixed + mixed * m.conv_kernel + beta + decay + gate + m.value_head_dim + values * h


def _mamba2_parameters(mixer: Mamba2, h: int) -> int:
    m = mixer
    inner, groups = m.heads * m.head_dim, m.groups * m.state_size
    mixed = inner + 2 * groups
    return h * (inner + mixed + m.heads) + mixed * (m.conv_kernel + 1) + 3 * m.heads + inner + inner * h


def _mamba1_parameters(mixer: Mamba1, h: int) -> int:
    m = mixer
    steps = m.dt_rank + 2 * m.state_size
    inside = m.inner_size * (m.conv_kernel + 1 + steps + m.dt_rank + 1 + m.state_size + 1)
    return 3 * h * m.inner_size + inside + steps * m.inner_norms
