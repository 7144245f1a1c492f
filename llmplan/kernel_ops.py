"""Prepares the calls of planned rows with PyTorch, on any device: buffers first, then one callable a set of buffers.

Definitions follow the shipped rows: a product in fp8 quantizes its activations by token inside the call; prefill
writes keys and values into a paged cache; decode reads one more token than are cached.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from llmplan.kernel_plan import MULTIPLE, Planned

Call = Callable[[], object]
Quantize = Callable[[Any], tuple[Any, Any]]
Made = TypeVar("Made")
LARGEST_FP8 = 448.0
LEAST_SCALE = 1e-12


def prepared(row: Planned, copies: int, device: str, quantize: Quantize | None = None, paged: Any = None) -> list[Call]:
    """Return one call for each set of buffers.

    Parameters
    ----------
    copies : int
        Sets of buffers; a warm row shares what is not a weight.
    device : str
        As PyTorch names it: `cuda`, `cpu`.
    quantize : callable, optional
        Quantizes activations, default `quantized`.
    paged : callable, optional
        vLLM's FlashAttention for decode; default PyTorch's own attention.
    """
    if row.file == "gemm" and row.values["dtype"] == "fp8":
        return _fp8_products(row, copies, device, quantize or quantized)
    if row.file == "gemm":
        return _products(row, copies, device)
    if row.file == "attn_prefill":
        return [_prefill(row, device) for _ in range(copies)]
    if row.file == "attn_decode":
        return [_paged_decode(row, device, paged) if paged else _decode(row, device) for _ in range(copies)]
    return [_traffic(row, device) for _ in range(copies)]


def _several(row: Planned, copies: int, make: Callable[[], Made]) -> list[Made]:
    """Return a set of buffers for each copy: one for all in a warm row."""
    return [make()] * copies if row.l2 == "warm" else [make() for _ in range(copies)]


def _normal(*shape: int, device: str) -> Any:
    import torch

    return torch.randn(*shape, dtype=torch.bfloat16, device=device)


def _products(row: Planned, copies: int, device: str) -> list[Call]:
    import torch

    m, n, k = (row.values[name] for name in ("m", "n", "k"))
    activations = _several(row, copies, lambda: _normal(m, k, device=device))
    outputs = _several(row, copies, lambda: torch.empty(m, n, dtype=torch.bfloat16, device=device))
    weights = [_normal(n, k, device=device) for _ in range(copies)]
    sets = zip(activations, weights, outputs, strict=True)
    return [partial(torch.mm, x, w.t(), out=y) for x, w, y in sets]


def quantized(x: Any) -> tuple[Any, Any]:
    """Return activations in fp8 (e4m3) and the scale of each token, (m, 1) in 32 bit."""
    import torch

    scale = (x.abs().amax(dim=-1, keepdim=True).float() / LARGEST_FP8).clamp(min=LEAST_SCALE)
    return (x / scale).clamp(-LARGEST_FP8, LARGEST_FP8).to(torch.float8_e4m3fn), scale


def _fp8_products(row: Planned, copies: int, device: str, quantize: Quantize) -> list[Call]:
    import torch

    m, n, k = (row.values[name] for name in ("m", "n", "k"))
    activations = _several(row, copies, lambda: _normal(m, k, device=device))
    weights = [_normal(n, k, device=device).to(torch.float8_e4m3fn) for _ in range(copies)]
    scales = torch.ones(1, n, dtype=torch.float32, device=device)

    def call(x: Any, w: Any) -> object:
        values, scale = quantize(x)
        return torch._scaled_mm(  # noqa: SLF001 - PyTorch has no public product of scaled rows before 2.10
            values, w.t(), scale_a=scale, scale_b=scales, out_dtype=torch.bfloat16, use_fast_accum=True
        )

    return [partial(call, x, w) for x, w in zip(activations, weights, strict=True)]


def _prefill(row: Planned, device: str) -> Call:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    v = row.values
    batch, tokens, heads, kv_heads, width = (v[c] for c in ("batch", "seq_len", "heads", "kv_heads", "head_dim"))
    q = _normal(batch, tokens, heads, width, device=device)
    new = [_normal(batch, tokens, kv_heads, width, device=device) for _ in range(2)]
    slots = _slots(batch * tokens, device)
    room = math.ceil(batch * tokens / MULTIPLE) * MULTIPLE
    caches = [torch.empty(room, kv_heads, width, dtype=torch.bfloat16, device=device) for _ in range(2)]

    def call() -> object:
        for cache, one in zip(caches, new, strict=True):
            cache.index_copy_(0, slots, one.view(batch * tokens, kv_heads, width))
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(
                q.transpose(1, 2), new[0].transpose(1, 2), new[1].transpose(1, 2), is_causal=True,
                enable_gqa=heads != kv_heads,
            )  # fmt: skip

    return call


def _slots(tokens: int, device: str) -> Any:
    """Return the place of each token in a cache whose blocks lie in no order."""
    import torch

    blocks = torch.randperm(math.ceil(tokens / MULTIPLE), device=device)
    return (blocks[:, None] * MULTIPLE + torch.arange(MULTIPLE, device=device)).flatten()[:tokens].contiguous()


def _decode(row: Planned, device: str) -> Call:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    v = row.values
    batch, reach, heads, kv_heads, width = v["batch"], v["ctx_len"] + 1, v["heads"], v["kv_heads"], v["head_dim"]
    q = _normal(batch, heads, 1, width, device=device)
    keys, values = (_normal(batch, reach, kv_heads, width, device=device).transpose(1, 2) for _ in range(2))

    def call() -> object:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(q, keys, values, enable_gqa=heads != kv_heads)

    return call


def _paged_decode(row: Planned, device: str, paged: Any) -> Call:
    """Return decode attention over a paged cache with vLLM's FlashAttention."""
    import torch

    v = row.values
    batch, reach, heads, kv_heads, width = v["batch"], v["ctx_len"] + 1, v["heads"], v["kv_heads"], v["head_dim"]
    each = math.ceil(reach / MULTIPLE)
    q = _normal(batch, heads, width, device=device)
    keys, values = (_normal(batch * each, MULTIPLE, kv_heads, width, device=device) for _ in range(2))
    table = torch.randperm(batch * each, device=device).view(batch, each).to(torch.int32)
    starts = torch.arange(batch + 1, dtype=torch.int32, device=device)
    used = torch.full((batch,), reach, dtype=torch.int32, device=device)
    return partial(
        paged, q, keys, values, max_seqlen_q=1, cu_seqlens_q=starts, max_seqlen_k=reach, seqused_k=used, causal=True,
        block_table=table,
    )  # fmt: skip


def _traffic(row: Planned, device: str) -> Call:
    """Return a copy or a sum; `bytes` counts what is read and written."""
    import torch

    op, size = row.key
    if op == "copy":
        source = torch.zeros(int(size) // 2, dtype=torch.uint8, device=device)
        return partial(torch.empty_like(source).copy_, source)
    return partial(torch.sum, torch.zeros(int(size) // 4, dtype=torch.float32, device=device))


def collective(op: str, size_bytes: int, ranks: int, device: str) -> Call:
    """Return a collective over the default group; `size_bytes` as nccl-tests count them."""
    import torch
    import torch.distributed as dist

    def zeros(share: int) -> Any:
        return torch.zeros(size_bytes // 2 // share, dtype=torch.float16, device=device)

    if op == "all_reduce":
        return partial(dist.all_reduce, zeros(1))
    if op == "all_gather":
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # the name before 2.13
        return partial(gather, zeros(1), zeros(ranks))
    if op == "reduce_scatter":
        scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        return partial(scatter, zeros(ranks), zeros(1))
    return partial(dist.all_to_all_single, zeros(1), zeros(1))
