"""Every measured operator: which columns state a row, which form predicts it, and what its roofline is.

An operator is a name of a file of rows or of its `op` column. `Target` is the device; `Columns` are the numbers of the
rows, one array a column. Formats are those of the rows (`FORMATS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from llmplan.perf.fits import UNKNOWN_L2_BYTES, UNKNOWN_MULTIPROCESSORS
from llmplan.perf.formats import CACHE_BYTES, FORMATS
from llmplan.perf.kernels import collectives, decode, elementwise, experts, gemm, messages, prefill
from llmplan.perf.kernels.chip import REFERENCE_CLOCK_HZ, Chip, Parameter, Parameters
from llmplan.perf.kernels.routing import ROW_TILES, Routed, routed
from llmplan.perf.kernels.tiles import (
    CUTS,
    MLA_KEYS,
    WINDOW_EDGE,
    attention_of,
    cache_keys,
    is_second_generation,
    matrix_rows,
    reads_beyond,
    splits_and_packs,
)
from llmplan.perf.roofline import Floats
from llmplan.spec.hardware import Gpu

Columns = Mapping[str, Floats]
MLA_PREFILL = (192.0, 128.0)
MLA_DECODE = (576.0, 512.0)
"""Widths of a key and a value of latent attention: of each head, and absorbed into the latent."""
UNGATED_HIDDEN = 2688.0
"""Width of the one model among the rows whose experts have no gate (Nemotron-3-Nano)."""
COLLECTIVES = (
    *("all_reduce", "all_reduce_vllm_graph", "all_reduce_vllm_eager"),
    *("all_gather", "reduce_scatter", "all_to_all"),
)


MESSAGES: Mapping[str, tuple[Parameter, ...]] = {
    "send_recv": messages.INSIDE,
    "send_recv_between": messages.BETWEEN,
    "all_reduce_between": messages.COLLECTIVE,
}
"""Messages inside a host, and what was measured between hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The device that rows ran on, or shall be predicted for."""

    gpu: Gpu
    link_bytes_per_s: float
    """Of one device, one direction, inside its host; 0 when no link is known. [B/s]"""

    def chip(self, compute: str) -> Chip:
        """Return the device at one compute type; one it lacks runs at the rate of 16 bit."""
        rates = self.gpu.flop_per_s
        return Chip(
            flop_per_s=rates.get(compute, rates["bf16"]),
            bytes_per_s=self.gpu.memory_bytes_per_s,
            multiprocessors=float(self.gpu.multiprocessors or UNKNOWN_MULTIPROCESSORS),
            l2_bytes=self.gpu.l2_bytes or UNKNOWN_L2_BYTES,
            clock_hz=self.gpu.clock_hz or REFERENCE_CLOCK_HZ,
            matrix_rows=matrix_rows(self.gpu.architecture),
        )


Predict = Callable[[Columns, Target, str, str, Parameters], Floats]
"""(columns, target, format, kernel, parameters) → seconds."""
Work = Callable[[Columns, Target, str, str], tuple[Floats, Floats]]
"""(columns, target, format, kernel) → seconds of arithmetic and of traffic at the datasheet's rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One measured operator."""

    name: str
    columns: tuple[str, ...]
    """Numbers that state a row."""
    shape: tuple[str, ...]
    """Columns that state a shape: whole shapes are left out of fits; none: points only."""
    formats: tuple[str, ...]
    parameters: Callable[[str], tuple[Parameter, ...]]
    """Parameters by format."""
    predict: Predict
    work: Work
    prepare: Callable[[Columns], Columns] = dict
    """Adds what does not depend on parameters, once."""


def roofline_s(operator: Operator, columns: Columns, target: Target, dtype: str, kernel: str) -> Floats:
    """Return the datasheet's least time of each row. [s]"""
    return np.maximum(*operator.work(columns, target, dtype, kernel))


def _gemm(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
    form = FORMATS[dtype]
    return gemm.seconds(
        c["m"], c["n"], c["k"], form.weight_bytes, form.activation_bytes, target.chip(form.compute), p, form.copies,
        cut=CUTS.get((dtype, kernel, target.gpu.architecture)),
    )  # fmt: skip


def _gemm_work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
    del kernel
    form = FORMATS[dtype]
    chip = target.chip(form.compute)
    moved = form.weight_bytes * c["n"] * c["k"] + form.activation_bytes * c["m"] * c["k"] + 2 * c["m"] * c["n"]
    return 2 * c["m"] * c["n"] * c["k"] / chip.flop_per_s, moved / chip.bytes_per_s


def _gemm_parameters(dtype: str) -> tuple[Parameter, ...]:
    return gemm.QUANTIZING if FORMATS[dtype].quantizes else gemm.PARAMETERS


def _heads(c: Columns) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return heads, KV heads, widths of key and value, and window of plain attention."""
    return c["heads"], c["kv_heads"], c["head_dim"], c["head_dim"], c["window"]


def _latent_heads(c: Columns) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    zero = np.zeros_like(c["heads"])
    return c["heads"], c["heads"], zero + MLA_PREFILL[0], zero + MLA_PREFILL[1], zero


Heads = Callable[[Columns], tuple[Floats, Floats, Floats, Floats, Floats]]


def _prefill(heads_of: Heads) -> tuple[Predict, Work]:
    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        heads, kv_heads, qk_dim, v_dim, window = heads_of(c)
        cached = c.get("prefix_len", np.zeros_like(heads))
        return prefill.seconds(
            c["batch"], c["seq_len"], cached, heads, kv_heads, qk_dim, v_dim, window, CACHE_BYTES[dtype],
            target.chip("bf16"), p, attention_of(kernel),
        )  # fmt: skip

    def work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
        del kernel
        heads, kv_heads, qk_dim, v_dim, window = heads_of(c)
        new, cached = c["seq_len"], c.get("prefix_len", np.zeros_like(heads))
        inside = (window > 0) & (window < new)
        pairs = np.where(
            inside, window * (window + 1) / 2 + (new - window) * window, new * (new + 1) / 2 + new * cached
        )
        chip, width = target.chip("bf16"), qk_dim + v_dim
        moved = (
            2 * c["batch"] * new * heads * width + c["batch"] * (new + cached) * kv_heads * width * CACHE_BYTES[dtype]
        )
        return 2 * c["batch"] * heads * pairs * width / chip.flop_per_s, moved / chip.bytes_per_s

    return predict, work


def _decode(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
    heads, kv_heads, qk_dim, v_dim, window = _heads(c)
    older = is_second_generation(kernel)
    reach = _reach(c)
    splits, packs = splits_and_packs(older, heads, kv_heads, window > 0)
    if reads_beyond(kernel):
        reach = reach + np.where((window > 0) & (window <= c["ctx_len"]), WINDOW_EDGE, 0.0)
    return decode.seconds(
        c["batch"], reach, heads, kv_heads, qk_dim, v_dim, qk_dim + v_dim, CACHE_BYTES[dtype],
        target.chip("bf16"), p, splits=splits, packs=packs,
        keys=cache_keys(kernel, qk_dim), whole_waves=older,
    )  # fmt: skip


def _reach(c: Columns) -> Floats:
    reach = c["ctx_len"] + 1
    window = c.get("window", np.zeros_like(reach))
    return np.where(window > 0, np.minimum(reach, window), reach)


def _decode_work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
    del kernel
    chip, batch, dim = target.chip("bf16"), c["batch"], c["head_dim"]
    moved = 2 * batch * c["kv_heads"] * _reach(c) * dim * CACHE_BYTES[dtype] + 4 * batch * c["heads"] * dim
    return 4 * batch * c["heads"] * dim * _reach(c) / chip.flop_per_s, moved / chip.bytes_per_s


def _mla_decode(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
    del kernel
    one = np.ones_like(c["heads"])
    key, value = MLA_DECODE
    return decode.seconds(
        c["batch"], _reach(c), c["heads"], one, key * one, value * one, key * one, CACHE_BYTES[dtype],
        target.chip("bf16"), p, keys=MLA_KEYS,
    )  # fmt: skip


def _mla_decode_work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
    del kernel
    chip, (key, value) = target.chip("bf16"), MLA_DECODE
    moved = c["batch"] * _reach(c) * key * CACHE_BYTES[dtype] + 4 * c["batch"] * c["heads"] * key
    return 2 * c["batch"] * c["heads"] * _reach(c) * (key + value) / chip.flop_per_s, moved / chip.bytes_per_s


def _routing(c: Columns) -> Columns:
    work = routed(c["tokens"], c["experts"], c["topk"], c["ep"], c["skew"])
    tiles = {f"tiles_{height}": found for height, found in work.tiles.items()}
    gates = np.where(c["hidden"] == UNGATED_HIDDEN, 1.0, 2.0)
    return {**c, "rows": work.rows, "active": work.active, "gates": gates, **tiles}


def _moe(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
    del kernel
    form = FORMATS[dtype]
    tiles = {height: c[f"tiles_{height}"] for height in ROW_TILES}
    work = Routed(rows=c["rows"], active=c["active"], tiles=tiles)
    return experts.seconds(
        c["tokens"], c["hidden"], c["inter"] / c["tp"], c["topk"], c["gates"], work, form.weight_bytes,
        target.chip(form.compute), p,
    )  # fmt: skip


def _moe_work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
    del kernel
    form = FORMATS[dtype]
    chip, inter, matrices = target.chip(form.compute), c["inter"] / c["tp"], c["gates"] + 1
    weights = c["active"] * matrices * c["hidden"] * inter * form.weight_bytes
    moved = weights + 4 * c["tokens"] * c["hidden"] + c["rows"] * (2 * c["hidden"] + 4 * inter)
    return 2 * c["rows"] * matrices * c["hidden"] * inter / chip.flop_per_s, moved / chip.bytes_per_s


def _collective(reduces: bool) -> tuple[Predict, Work]:
    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        del dtype, kernel
        return collectives.seconds(c["bytes"], c["ranks"], reduces, target.link_bytes_per_s, target.chip("bf16"), p)

    def work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
        del dtype, kernel
        moved = collectives.sent(reduces, c["ranks"]) * c["bytes"] / target.link_bytes_per_s
        return np.zeros_like(moved), moved

    return predict, work


def _messages(name: str) -> tuple[Predict, Work]:
    """Return what times messages and what they cannot beat: the links of a device; of no network a bound is known."""

    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        del dtype, kernel
        if name == "send_recv":
            return messages.inside_s(c["bytes"], target.link_bytes_per_s, target.chip("bf16"), p)
        if name == "send_recv_between":
            return messages.between_s(c["bytes"], p)
        return messages.all_reduce_s(c["bytes"], c["ranks"], c["devices_per_node"], p)

    def work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
        del dtype, kernel
        share = collectives.sent(True, c["ranks"]) if name.startswith("all_reduce") else 1.0
        moved = np.asarray(share * c["bytes"] / target.link_bytes_per_s)
        return np.zeros_like(moved), moved

    return predict, work


MOVED: Mapping[str, Callable[[Columns], Floats]] = {
    "add": lambda c: 6 * c["tokens"] * c["hidden"],
    "input_layernorm": lambda c: 4 * c["tokens"] * c["hidden"],
    "post_attention_layernorm": lambda c: 4 * c["tokens"] * c["hidden"],
    "emb": lambda c: 4 * c["tokens"] * c["hidden"],
    "mlp_act": lambda c: 6 * c["tokens"] * c["inter"] / c["tp"],
    "attn_rope": lambda c: 4 * c["tokens"] * (c["heads"] + c["kv_heads"]) * c["hidden"] / c["heads"] / c["tp"],
}
"""Bytes that elementwise operators read and write, in 16 bit."""


def _elementwise(moved: Callable[[Columns], Floats]) -> tuple[Predict, Work]:
    def predict(c: Columns, target: Target, dtype: str, kernel: str, p: Parameters) -> Floats:
        del dtype, kernel
        return elementwise.seconds(moved(c), target.chip("bf16"), p)

    def work(c: Columns, target: Target, dtype: str, kernel: str) -> tuple[Floats, Floats]:
        del dtype, kernel
        seconds = moved(c) / target.gpu.memory_bytes_per_s
        return np.zeros_like(seconds), seconds

    return predict, work


def _operators() -> dict[str, Operator]:
    caches = tuple(CACHE_BYTES)
    plain, latent = _prefill(_heads), _prefill(_latent_heads)
    found = [
        Operator(
            name="gemm", columns=("m", "n", "k"), shape=("n", "k"), formats=tuple(FORMATS)[:7],
            parameters=_gemm_parameters, predict=_gemm, work=_gemm_work,
        ),
        Operator(
            name="attn_prefill",
            columns=("batch", "seq_len", "prefix_len", "heads", "kv_heads", "head_dim", "window"),
            shape=("heads", "kv_heads", "head_dim"), formats=caches,
            parameters=lambda _: prefill.PARAMETERS, predict=plain[0], work=plain[1],
        ),
        Operator(
            name="attn_decode", columns=("batch", "ctx_len", "heads", "kv_heads", "head_dim", "window"),
            shape=("heads", "kv_heads", "head_dim"), formats=caches,
            parameters=lambda _: decode.PARAMETERS, predict=_decode, work=_decode_work,
        ),
        Operator(
            name="mla_prefill", columns=("batch", "seq_len", "heads"), shape=("heads",), formats=caches,
            parameters=lambda _: prefill.PARAMETERS, predict=latent[0], work=latent[1],
        ),
        Operator(
            name="mla_decode", columns=("batch", "ctx_len", "heads"), shape=("heads",), formats=caches,
            parameters=lambda _: decode.LATENT, predict=_mla_decode, work=_mla_decode_work,
        ),
        Operator(
            name="moe", columns=("tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "skew"),
            shape=("hidden", "inter", "topk", "experts"),
            formats=("bfloat16", "fp8", "fp8_block", "nvfp4", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8"),
            parameters=lambda _: experts.PARAMETERS, predict=_moe, work=_moe_work, prepare=_routing,
        ),
    ]  # fmt: skip
    for name in COLLECTIVES:
        predict, work = _collective(name.startswith("all_reduce"))
        found.append(
            Operator(
                name=name, columns=("ranks", "bytes"), shape=(), formats=("float16", "bfloat16", "int8"),
                parameters=lambda _: collectives.PARAMETERS, predict=predict, work=work,
            )
        )  # fmt: skip
    for name, parameters in MESSAGES.items():
        predict, work = _messages(name)
        found.append(
            Operator(
                name=name, columns=("ranks", *(("devices_per_node",) if name == "all_reduce_between" else ()), "bytes"),
                shape=(), formats=("float16", "bfloat16", "int8"),
                parameters=lambda _, p=parameters: p, predict=predict, work=work,  # type: ignore[misc]
            )
        )  # fmt: skip
    for name, moved in MOVED.items():
        predict, work = _elementwise(moved)
        columns = ("tp", "tokens", "hidden", "inter", "heads", "kv_heads")
        found.append(
            Operator(
                name=name, columns=columns, shape=(), formats=("float16",),
                parameters=lambda _: elementwise.PARAMETERS, predict=predict, work=work,
            )
        )  # fmt: skip
    return {operator.name: operator for operator in found}


OPERATORS: Mapping[str, Operator] = _operators()
