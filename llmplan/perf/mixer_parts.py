"""Attention and states of a step as parts of its cost.

The forms know batches of equal sequences; a step holds sequences of all lengths, and its features are sums over them.
Decode attention of b sequences that read c cached tokens together, and prefill attention of chunks of x tokens and
P query-key pairs, become sums::

    decode   = S(b) + s·c        s: limit of the form's seconds for one more cached token, many long sequences
                                 S(b) = form(b, L) − s·b·L at L = 1,024 cached tokens, or the reach if less
    prefill  = T(x) + q·P        q: limit of the form's seconds for one more pair, long prompts
                                 T(x) = form(x) − q·x·(x + 1)/2 of one prompt of x tokens

so that decode is the form itself where sequences hold 1,024 tokens, and prefill where a step holds one new prompt.
Elsewhere the sum may miss the form: docs/methods/step.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from llmplan.perf.attention import Heads, causal_pairs, decode, prefill
from llmplan.perf.fits import Kernels, Replicas
from llmplan.perf.kernels import decode as decode_form
from llmplan.perf.kernels import prefill as prefill_form
from llmplan.perf.kernels.tiles import MLA_KEYS, SECOND, WINDOW_EDGE, splits_and_packs
from llmplan.perf.part import Part
from llmplan.perf.roofline import Constants, Floats, Work, serial_s
from llmplan.perf.states import prefill_work
from llmplan.spec.caches import INDEX_BYTES, reach_of, state_bytes
from llmplan.spec.fits import Basis
from llmplan.spec.model import Compressed, Gqa, Indexer, Mixer, Mla, State

PAIRS_UNIT = 1024.0
"""Query-key pairs in one unit of their feature: one pair takes too few picoseconds to be rounded to whole ones."""
CONTEXT_TOKENS = 1024.0
"""Cached tokens of a sequence at which decode is the form itself."""
MANY_SEQUENCES, LONG_TOKENS = 4096.0, 32768.0
"""Where the limits of the forms are taken."""


def context_feature(reach: float) -> str:
    """Return the feature that counts cached tokens read by decodes that read at most `reach` of them."""
    return "decode_context" if math.isinf(reach) else f"decode_context_{reach:.0f}"


def pairs_feature(reach: float) -> str:
    """Return the feature that counts query-key pairs of chunks whose queries read at most `reach` tokens."""
    return "prefill_pairs" if math.isinf(reach) else f"prefill_pairs_{reach:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What attention reads of the cached tokens of a sequence."""

    operator: str
    first: Heads
    """As prefill sees it."""
    later: Heads
    """As decode sees it."""
    reach: float = math.inf
    """Tokens read at most."""
    share: float = 1.0
    """Entries read for one token."""


def mixer_parts(r: Replicas, mixer: Mixer, count: int) -> Iterable[Part]:
    """Yield the parts of `count` attention or state blocks without their projections."""
    if isinstance(mixer, State):
        yield from _state_parts(r, mixer, count)
    else:
        yield from _attention_parts(r, mixer, count)


def _attention_parts(r: Replicas, attention: Gqa | Mla | Compressed, count: int) -> Iterable[Part]:
    family = "attn" if isinstance(attention, Gqa) else "mla"
    first, later = r.kernels[f"{family}_prefill"], r.kernels[f"{family}_decode"]
    views = _views(r, attention)
    slopes = [(_pair_s(r, view.first, first), _context_token_s(r, view, later)) for view in views]
    for view, slope in zip(views, slopes, strict=True):
        yield from _view_parts(r, view, slope, (first, later), family, count)
    main, (pair_s, token_s) = views[0], slopes[0]
    reach = min(CONTEXT_TOKENS, main.reach)
    window = 0.0 if math.isinf(main.reach) else main.reach

    def chunk_s(x: Floats) -> Floats:
        tokens = np.maximum(x / r.dp, 1.0)
        pairs = causal_pairs(tokens, np.zeros_like(tokens), main.reach)
        return count * np.maximum(_prefill_s(r, tokens, main.first, first, window) - pair_s * pairs, 0.0)

    def chunk_work(x: Floats) -> Work:
        return prefill(count * x / r.dp, 0.0, main.first)

    def sequence_s(x: Floats) -> Floats:
        batch = np.maximum(x / r.dp, 1.0)
        whole = _decode_s(r, batch, np.asarray(reach), main, later)
        return count * np.maximum(whole - token_s * batch * reach, 0.0)

    def sequence_work(x: Floats) -> Work:
        return decode(count * x / r.dp, 0.0, main.later)

    peak = r.bf16_flop_per_s
    yield Part(
        operator="prefill_attention", feature="prefill_tokens", seconds=chunk_s, work=chunk_work, flop_per_s=peak,
        kernel=f"{family}_prefill", basis=first.basis,
    )  # fmt: skip
    yield Part(
        operator="decode_attention", feature="sequences", seconds=sequence_s, work=sequence_work, flop_per_s=peak,
        kernel=f"{family}_decode", basis=later.basis,
    )  # fmt: skip


def _view_parts(
    r: Replicas, view: View, slope: tuple[Floats, Floats], kernels: tuple[Kernels, Kernels], family: str, count: int
) -> Iterable[Part]:
    """Yield the parts that grow with pairs and with cached tokens, by the seconds of one more of each."""
    first, later = kernels
    pair_s, token_s = (count * view.share / r.dp * one for one in slope)
    pair_s = pair_s * PAIRS_UNIT

    def pairs_work(x: Floats) -> Work:
        return prefill(0.0, count * view.share * PAIRS_UNIT * x / r.dp, view.first)

    def context_work(x: Floats) -> Work:
        return decode(0.0, count * view.share * x / r.dp, view.later)

    peak = r.bf16_flop_per_s
    yield Part(
        operator=f"prefill_{view.operator}", feature=pairs_feature(view.reach), seconds=lambda x: pair_s * x,
        work=pairs_work, flop_per_s=peak, kernel=f"{family}_prefill", straight=True, basis=first.basis,
    )  # fmt: skip
    yield Part(
        operator=f"decode_{view.operator}", feature=context_feature(view.reach), seconds=lambda x: token_s * x,
        work=context_work, flop_per_s=peak, kernel=f"{family}_decode", straight=True, basis=later.basis,
    )  # fmt: skip


def _prefill_s(r: Replicas, tokens: Floats, heads: Heads, kernels: Kernels, window: float) -> Floats:
    """Return the form's seconds of one new prompt, (C, K)."""
    found = np.empty(np.broadcast_shapes(tokens.shape, r.tp.shape))
    every = np.broadcast_to(tokens, found.shape)
    value = heads.width - heads.key_width
    query, kv, kept = (np.broadcast_to(x, r.tp.shape) for x in (heads.query, heads.kv, heads.kv_bytes))
    for cut, rows in kernels.attention:
        p = {name: numbers[rows] for name, numbers in kernels.parameters.items()}
        found[rows] = prefill_form.seconds(
            1.0, every[rows], 0.0, query[rows], kv[rows], heads.key_width, value, window, kept[rows],
            r.chip(rows=rows), p, cut,
        )  # fmt: skip
    return found


def _pair_s(r: Replicas, heads: Heads, kernels: Kernels) -> Floats:
    """Return the limit of the form's seconds for one more pair: f(2n) − 2·f(n) sheds all that grows with tokens."""
    once, twice = (_prefill_s(r, np.asarray(n), heads, kernels, 0.0) for n in (LONG_TOKENS, 2 * LONG_TOKENS))
    return np.asarray((twice - 2 * once) / LONG_TOKENS**2)


def _decode_s(r: Replicas, batch: Floats | float, reach: Floats, view: View, kernels: Kernels) -> Floats:
    heads = view.later
    windowed, latent = not math.isinf(view.reach), heads.kv_width < heads.width
    older, edged = (flags & (not latent) for flags in (kernels.older, kernels.edged))
    splits, packs = splits_and_packs(older, heads.query, heads.kv, windowed)
    keys = np.where(older, SECOND.key_rows(np.asarray(heads.key_width)), MLA_KEYS if latent else kernels.block_keys)
    return decode_form.seconds(
        batch, reach + WINDOW_EDGE * (edged & windowed), heads.query, heads.kv, heads.key_width,
        heads.width - heads.key_width, heads.kv_width, heads.kv_bytes, r.chip(), kernels.parameters, splits=splits,
        packs=packs, cold=True, keys=keys, whole_waves=older,
    )  # fmt: skip


def _context_token_s(r: Replicas, view: View, kernels: Kernels) -> Floats:
    """Return the limit of the form's seconds for one more cached token."""
    shorter, longer = (
        _decode_s(r, MANY_SEQUENCES, np.asarray(n), view, kernels) for n in (LONG_TOKENS, 2 * LONG_TOKENS)
    )
    return np.asarray((longer - shorter) / (MANY_SEQUENCES * LONG_TOKENS))


def _views(r: Replicas, attention: Gqa | Mla | Compressed) -> list[View]:
    """Return what attention reads on one rank, the attention itself first."""
    if isinstance(attention, Gqa):
        heads = _grouped(r, attention)
        views = [View(operator="attention", first=heads, later=heads, reach=reach_of(attention))]
        return views + _index_views(r, attention.indexer, 1.0)
    if isinstance(attention, Compressed):
        return _compressed_views(r, attention)
    absorbed = _absorbed(r, attention)
    if attention.sparse_tokens is None:
        return [View(operator="attention", first=_expanded(r, attention), later=absorbed)]
    views = [View(operator="attention", first=absorbed, later=absorbed, reach=reach_of(attention))]
    return views + _index_views(r, attention.indexer, 1.0)


def _grouped(r: Replicas, attention: Gqa) -> Heads:
    return Heads(
        query=attention.heads / r.tp,
        kv=np.maximum(attention.kv_heads / r.tp, 1.0),
        width=float(attention.head_dim + attention.value_dim),
        key_width=float(attention.head_dim),
        kv_width=float(attention.kv_width),
        kv_bytes=r.kv_bytes,
    )


def _expanded(r: Replicas, attention: Mla) -> Heads:
    """Return latent attention with the keys and values of every head made from the latent: prefill."""
    query = attention.heads / r.tp
    width = float(attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim)
    keys = width - float(attention.v_head_dim)
    return Heads(query=query, kv=query, width=width, key_width=keys, kv_width=width, kv_bytes=r.kv_bytes)


def _absorbed(r: Replicas, attention: Mla) -> Heads:
    """Return latent attention over the latents themselves: decode, and prefill over chosen tokens."""
    latent = float(attention.kv_width)
    return _shared_key(r, attention.heads / r.tp, latent + attention.kv_lora_rank, latent)


def _shared_key(r: Replicas, query: Floats, width: float, kv_width: float) -> Heads:
    """Return heads that all read one key of a token."""
    one = np.ones_like(query)
    return Heads(query=query, kv=one, width=width, key_width=kv_width, kv_width=kv_width, kv_bytes=r.kv_bytes)


def _compressed_views(r: Replicas, attention: Compressed) -> list[View]:
    """Return the window, the entries before it, and the indexer that chooses among them."""
    heads = _shared_key(r, attention.heads / r.tp, 2.0 * attention.head_dim, float(attention.head_dim))
    views = [View(operator="attention", first=heads, later=heads, reach=float(attention.window))]
    if attention.compress_ratio is None:
        return views
    share, reach = 1 / attention.compress_ratio, float(attention.sparse_tokens or math.inf)
    views.append(View(operator="entries", first=heads, later=heads, reach=reach, share=share))
    return views + _index_views(r, attention.indexer, share)


def _index_views(r: Replicas, indexer: Indexer | None, share: float) -> list[View]:
    """Return an indexer's look at all tokens; every rank does it whole, and there are no values."""
    if indexer is None:
        return []
    width = float(indexer.head_dim)
    heads = Heads(
        query=float(indexer.heads),
        kv=1.0,
        width=width,
        key_width=width,
        kv_width=width,
        kv_bytes=np.full_like(r.tp, INDEX_BYTES),
    )
    return [View(operator="indexer", first=heads, later=heads, share=share)]


def _state_parts(r: Replicas, mixer: State, count: int) -> Iterable[Part]:
    """Recurrence of linear attention and SSM layers: chunks by token, decodes read and write their state."""
    first, later = r.kernels["attn_prefill"].parameters, r.kernels["attn_decode"].parameters
    kept = state_bytes(mixer) / r.tp
    like_attention = Constants(
        fixed_s=first["fixed_s"] * r.chip().latency,
        compute_efficiency=first["compute_efficiency"],
        memory_efficiency=first["memory_efficiency"],
    )
    bandwidth = r.memory_bytes_per_s * later["memory_efficiency"]

    def chunk_work(x: Floats) -> Work:
        return prefill_work(count * x / r.dp, mixer, r.tp)

    def chunk_s(x: Floats) -> Floats:
        one = prefill_work(x / r.dp, mixer, r.tp)
        return np.asarray(count * serial_s(one, r.bf16_flop_per_s, r.memory_bytes_per_s, like_attention))

    def sequence_work(x: Floats) -> Work:
        return Work(flop=0.0 * x, moved_bytes=count * 2.0 * kept * x / r.dp)

    def sequence_s(x: Floats) -> Floats:
        return np.asarray(sequence_work(x).moved_bytes / bandwidth)

    peak = r.bf16_flop_per_s
    unmeasured: Basis = "datasheet"
    datasheet = (unmeasured,) * len(r)
    yield Part(
        operator="prefill_state", feature="prefill_tokens", seconds=chunk_s, work=chunk_work, flop_per_s=peak,
        kernel="state", basis=datasheet,
    )  # fmt: skip
    yield Part(
        operator="decode_state", feature="sequences", seconds=sequence_s, work=sequence_work, flop_per_s=peak,
        kernel="state", basis=datasheet,
    )  # fmt: skip
