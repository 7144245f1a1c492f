"""How many parameters a model has, by module: a count of weights, without any time."""

from __future__ import annotations

from llmplan.spec.model import Ffn, Gqa, Mla, Model, Moe


def parameters(model: Model) -> dict[str, int]:
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
    With h the hidden size, V the vocabulary, L layers and n norms a layer::

        embedding       V·h
        head            V·h, or 0 when tied
        attention       projections, their biases, sinks, and the norms of queries, keys and latents
        ffn             dense layers: 3·h·f gated, 2·h·f plain, biases
        experts         E·3·h·fe, and E·(2·fe + h) with expert biases
        shared_experts  S·3·h·fs
        router          h·E, and E with a router bias
        norms           L·n·h + h

    Norms inside the attention belong to `attention`, since they are shared out among GPUs with its heads. MTP
    layers and a vision tower are not counted. A norm is one weight an element (RMS norm): a layer norm with a
    bias would be counted too low.
    """
    h = model.hidden_size
    ends = model.vocab_size * h
    counts: dict[str, int] = {
        "embedding": ends,
        "head": 0 if model.tie_embeddings else ends,
        "attention": 0,
        "ffn": 0,
        "experts": 0,
        "shared_experts": 0,
        "router": 0,
        "norms": (model.layer_count * model.norms_per_layer + 1) * h,
    }
    for (attention, ffn), layers in model.blocks().items():
        counts["attention"] += layers * attention_parameters(model.attention[attention], h)
        for module, count in ffn_parameters(model.ffn[ffn], h).items():
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
    for (_, name), layers in model.blocks().items():
        ffn = model.ffn[name]
        if isinstance(ffn, Moe):
            unchosen = ffn.experts - ffn.experts_per_token
            idle += layers * unchosen * _expert_parameters(ffn, model.hidden_size)
    return sum(parameters(model).values()) - idle


def attention_parameters(attention: Gqa | Mla, hidden_size: int) -> int:
    """Return the parameters of one attention block.

    Parameters
    ----------
    attention : Gqa or Mla
        The block.
    hidden_size : int
        Width of the residual stream.

    Returns
    -------
    int
    """
    if isinstance(attention, Mla):
        return _mla_parameters(attention, hidden_size)
    return _gqa_parameters(attention, hidden_size)


def ffn_parameters(ffn: Ffn | Moe, hidden_size: int) -> dict[str, int]:
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
        return {
            "experts": ffn.experts * _expert_parameters(ffn, h),
            "shared_experts": ffn.shared_experts * 3 * h * shared_width,
            "router": ffn.experts * (h + ffn.router_bias),
        }
    matrices = 3 if ffn.kind == "gated" else 2
    bias = (matrices - 1) * ffn.intermediate_size + h if ffn.bias else 0
    return {"ffn": matrices * h * ffn.intermediate_size + bias}


def _expert_parameters(moe: Moe, h: int) -> int:
    """Return the parameters of one routed expert."""
    bias = 2 * moe.intermediate_size + h if moe.expert_bias else 0
    return 3 * h * moe.intermediate_size + bias


def _gqa_parameters(attention: Gqa, h: int) -> int:
    queries = attention.heads * attention.head_dim
    keys = attention.kv_heads * attention.head_dim
    keys_and_values = attention.kv_heads * attention.kv_width
    norm = {"none": 0, "per_head": 2 * attention.head_dim, "full": queries + keys}[attention.qk_norm]
    bias = (queries + keys_and_values) * attention.qkv_bias + h * attention.output_bias
    sinks = attention.heads * attention.sinks
    return h * (2 * queries + keys_and_values) + bias + norm + sinks


def _mla_parameters(attention: Mla, h: int) -> int:
    a = attention
    queries = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    q = a.q_lora_rank
    query_side = h * queries if q is None else h * q + q + q * queries
    latent = h * a.kv_width + a.kv_lora_rank
    expand = a.kv_lora_rank * a.heads * (a.qk_nope_head_dim + a.v_head_dim)
    return query_side + latent + expand + a.heads * a.v_head_dim * h
