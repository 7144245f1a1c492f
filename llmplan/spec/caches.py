"""What attention keeps of a sequence and how far it looks back: counts of values, without any device.

A mixer keeps values of every token, or of the last ones only, and reads some of them for each new token:

    full attention      keeps and reads every token
    window, chunk       keeps and reads the last W tokens
    chosen by indexer   keeps every token and a small key of each; reads k tokens, and all small keys
    compressed entries  keeps a window, and one entry for every r tokens before it
    state               keeps a fixed state for each sequence, whatever its length
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from llmplan.spec.model import Compressed, Delta, Gqa, Indexer, Mamba1, Mamba2, Mixer, Mla, Model

INDEX_BYTES = 1 + 4 / 128
"""Bytes of one value of an indexer's key: fp8, with a 32-bit scale for 128 values (DeepSeek-V3.2's cache)."""
CONV_BYTES = 2.0
"""Bytes of one value that a short convolution looks back on."""
STATE_BYTES = {"fp32": 4.0, "bf16": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Values that one layer keeps of each token."""

    values: float
    """Of all heads together."""
    back: float = math.inf
    """Tokens back from the last that are kept; infinity: all of them."""
    ways: int = 1
    """Ranks they can be shared out to; more ranks repeat them."""
    index: bool = False
    """The small key of an indexer, in a format of its own."""


def kept(mixer: Mixer) -> tuple[Kept, ...]:
    """Return what one layer keeps of each token."""
    if isinstance(mixer, Gqa):
        if mixer.shares_kv:
            return ()
        back = float(mixer.window or math.inf)
        own = Kept(values=mixer.kv_heads * mixer.kv_width, back=back, ways=mixer.kv_heads)
        return own, *_index(mixer.indexer, 1)
    if isinstance(mixer, Mla):
        return Kept(values=mixer.kv_width), *_index(mixer.indexer, 1)
    if isinstance(mixer, Compressed):
        window = Kept(values=mixer.head_dim, back=float(mixer.window))
        ratio = mixer.compress_ratio
        if ratio is None:
            return (window,)
        return window, Kept(values=mixer.head_dim / ratio), *_index(mixer.indexer, ratio)
    return ()


def _index(indexer: Indexer | None, tokens: int) -> Iterator[Kept]:
    if indexer is not None:
        yield Kept(values=indexer.head_dim / tokens, index=True)


def state_bytes(mixer: Mixer) -> float:
    """Return the bytes of one sequence's state in one layer, its short convolution included; 0 for attention."""
    if isinstance(mixer, Delta):
        keys, values = mixer.key_heads * mixer.key_head_dim, mixer.value_heads * mixer.value_head_dim
        state, channels = values * mixer.key_head_dim, 2 * keys + values
    elif isinstance(mixer, Mamba2):
        inner = mixer.heads * mixer.head_dim
        state, channels = inner * mixer.state_size, inner + 2 * mixer.groups * mixer.state_size
    elif isinstance(mixer, Mamba1):
        state, channels = mixer.inner_size * mixer.state_size, mixer.inner_size
    else:
        return 0.0
    return state * STATE_BYTES[mixer.state_dtype] + (mixer.conv_kernel - 1) * channels * CONV_BYTES


def reaches(model: Model) -> tuple[float, ...]:
    """Return how many cached tokens the model's kinds of attention read at most, ascending; infinity is always one."""
    found = {math.inf}
    for mixer in model.attention.values():
        if isinstance(mixer, Gqa | Mla):
            found.add(reach_of(mixer))
        elif isinstance(mixer, Compressed):
            found |= {float(mixer.window), float(mixer.sparse_tokens or math.inf)}
    return tuple(sorted(found))


def reach_of(attention: Gqa | Mla) -> float:
    """Return how many cached tokens one query reads at most."""
    window = attention.window if isinstance(attention, Gqa) else None
    return float(min(window or math.inf, attention.sparse_tokens or math.inf))
