"""Tables of AIConfigurator (PyPI aiconfigurator-core, `systems/data/**/*_perf`), as Parquet, CSV or text.

Latencies are milliseconds, messages are counted in elements. GEMM, latent attention and NCCL go by their backend, as in
the rows we ship; attention, experts and custom all-reduces keep the name of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from llmplan.errors import InputError
from llmplan.foreign_rows import (
    COLLECTIVE_DTYPES,
    SIXTEEN_BIT,
    Asked,
    Found,
    RefusedError,
    Row,
    Source,
    Table,
    cells_of,
    number,
    table_of,
    time_us,
    whole,
    word,
)
from llmplan.perf.kernels.forms import COLLECTIVES, OPERATORS

US_PER_MS = 1000.0
ELEMENT_BYTES = {"float16": 2, "bfloat16": 2, "int8": 1}
GEMM_DTYPES = {"sq": "int8_sq", "float16": SIXTEEN_BIT}
"""Formats that we name otherwise."""
OPS = {name: name for name in COLLECTIVES} | {"alltoall": "all_to_all"}
ATTENTION = {"context_attention": "attn_prefill", "generation_attention": "attn_decode"}
LATENT = {"mla_context": "mla_prefill", "mla_generation": "mla_decode"}
EXPERTS = {
    "tokens": "num_tokens",
    "hidden": "hidden_size",
    "inter": "inter_size",
    "topk": "topk",
    "experts": "num_experts",
    "tp": "moe_tp_size",
    "ep": "moe_ep_size",
}
MODULE = frozenset({"gemm_type", "compress_ratio"})
"""Columns of tables that time a whole block, projections included."""
Cells = Mapping[str, object]
Read = Callable[[Cells, str], tuple[str, Mapping[str, str | int]]]
"""(cells, backend) → kind of file and the columns that name a row."""


def _reads() -> Mapping[str, tuple[Read, tuple[str, ...]]]:
    """Return by the column that only its table has: who reads a row, and the columns it needs."""
    heads = ("num_heads", "batch_size", "isl", "step")
    return {
        "gemm_dtype": (_gemm, ("m", "n", "k")),
        "num_key_value_heads": (_attention, ("kv_cache_dtype", "kernel_source", "head_dim", *heads)),
        "mla_dtype": (_latent, ("kv_cache_dtype", *heads)),
        "moe_dtype": (_experts, ("kernel_source", *EXPERTS.values(), "distribution")),
        "nccl_dtype": (partial(_message, "nccl_dtype"), ("num_gpus", "message_size")),
        "allreduce_dtype": (partial(_message, "allreduce_dtype"), ("kernel_source", "num_gpus", "message_size")),
    }


def read(source: Source, asked: Asked) -> Found:
    """Return the rows of a table.

    Raises
    ------
    InputError
        The table is none that is read, lacks a column, or nothing names its backend.
    """
    table, found = table_of(source), Found()
    reader, wanted = _reader(table)
    table.check(("op_name", *wanted, "latency"))
    if not {"framework", "nccl_dtype"} & set(table.columns) and not asked.backend:
        raise InputError(f"{table.where}: has no column framework; give --backend NAME")
    others: dict[str, bool] = {}
    for cells in cells_of(table, found):
        device = word(cells.get("device"))
        if device not in others:
            others[device] = asked.is_other(device)
        if others[device]:
            found.refused["other_gpu"] += 1
        else:
            found.take(_row(cells, reader, asked))
    return found


def _reader(table: Table) -> tuple[Read, tuple[str, ...]]:
    reads = _reads()
    kinds = [name for name in reads if name in table.columns]
    if len(kinds) != 1 or MODULE & set(table.columns):
        raise InputError(
            f"{table.where}: is no table of AIConfigurator that is read; want gemm_perf, context_attention_perf, "
            "generation_attention_perf, context_mla_perf, generation_mla_perf, moe_perf, nccl_perf or "
            "custom_allreduce_perf"
        )
    reader, wanted = reads[kinds[0]]
    return reader, (kinds[0], *wanted)


def _row(cells: Cells, reader: Read, asked: Asked) -> Iterator[Row]:
    nccl = "nccl_dtype" in cells
    backend = "nccl" if nccl else word(cells.get("framework")).lower() or asked.backend or ""
    if not backend:
        raise RefusedError("no_backend")
    version = word(cells.get("version")) or asked.version or ""
    kind, columns = reader(cells, backend)
    yield Row(
        kind=kind,
        cells={"backend": backend, "version": version, **columns},
        time_us=time_us(cells["latency"], US_PER_MS),
    )


def _known(dtype: str, operator: str) -> str:
    if dtype not in OPERATORS[operator].formats:
        raise RefusedError("unknown_dtype")
    return dtype


def _kind(cells: Cells, kinds: Mapping[str, str]) -> str:
    try:
        return kinds[word(cells["op_name"])]
    except KeyError:
        raise RefusedError("unknown_op") from None


def _gemm(cells: Cells, backend: str) -> tuple[str, Mapping[str, str | int]]:
    del backend
    kind, written = _kind(cells, {"gemm": "gemm"}), word(cells["gemm_dtype"])
    shape = {name: whole(cells[name]) for name in ("m", "n", "k")}
    return kind, {"dtype": _known(GEMM_DTYPES.get(written, written), kind), **shape}


def _attention(cells: Cells, backend: str) -> tuple[str, Mapping[str, str | int]]:
    """Read plain attention; one whose queries are of 8 bit is another kernel."""
    del backend
    kind, kernel = _kind(cells, ATTENTION), word(cells["kernel_source"])
    if whole(cells.get("beam_width", 1)) != 1:
        raise RefusedError("beams")
    if kind == "attn_prefill" and word(cells.get("attn_dtype")) == "fp8":
        kernel = f"{kernel}_fp8"
    dtype = word(cells["kv_cache_dtype"])
    sizes = {
        "heads": whole(cells["num_heads"]),
        "kv_heads": whole(cells["num_key_value_heads"]),
        "head_dim": whole(cells["head_dim"]),
        "window": whole(cells.get("window_size") or 0, 0),
    }
    return kind, {
        "kernel": kernel,
        "kv_dtype": _known(SIXTEEN_BIT if dtype == "float16" else dtype, kind),
        "batch": whole(cells["batch_size"]),
        **_tokens(cells, kind == "attn_decode"),
        **sizes,
    }


def _tokens(cells: Cells, decode: bool) -> dict[str, int]:
    new, before = whole(cells["isl"]), whole(cells["step"], 0)
    return {"ctx_len": whole(new + before - 1)} if decode else {"seq_len": new, "prefix_len": before}


def _latent(cells: Cells, backend: str) -> tuple[str, Mapping[str, str | int]]:
    del backend
    kind = _kind(cells, LATENT)
    _known(word(cells["mla_dtype"]), "mla_prefill")
    if word(cells["mla_dtype"]) == "fp8":
        raise RefusedError("unknown_dtype")
    tokens = _tokens(cells, kind == "mla_decode")
    if tokens.pop("prefix_len", 0):
        raise RefusedError("cached_prefix")
    dtype = _known(word(cells["kv_cache_dtype"]), kind)
    return kind, {"kv_dtype": dtype, "batch": whole(cells["batch_size"]), **tokens, "heads": whole(cells["num_heads"])}


def _experts(cells: Cells, backend: str) -> tuple[str, Mapping[str, str | int]]:
    del backend
    kind, distribution = _kind(cells, {"moe": "moe"}), word(cells["distribution"])
    if distribution != "balanced":
        number(distribution.removeprefix("power_law_"), "unknown_distribution")
    sizes: dict[str, str | int] = {ours: whole(cells[theirs]) for ours, theirs in EXPERTS.items()}
    of_kernel: dict[str, str | int] = {
        "kernel": word(cells["kernel_source"]),
        "dtype": _known(word(cells["moe_dtype"]), kind),
    }
    return kind, {**of_kernel, **sizes, "distribution": distribution}


def _message(dtype_column: str, cells: Cells, backend: str) -> tuple[str, Mapping[str, str | int]]:
    """Read a collective; vLLM's own all-reduces are operators of ours, others go by the name of their kernel."""
    op = _kind(cells, OPS)
    kernel: dict[str, str | int] = {}
    if dtype_column == "allreduce_dtype":
        mode = word(cells["kernel_source"]).rpartition("_")[2]
        if backend == "vllm":
            op = _kind({"op_name": f"all_reduce_vllm_{mode}"}, OPS)
        else:
            kernel = {"kernel": word(cells["kernel_source"])}
    dtype = COLLECTIVE_DTYPES.get(word(cells[dtype_column]))
    if dtype is None:
        raise RefusedError("unknown_dtype")
    size = whole(cells["message_size"]) * ELEMENT_BYTES[dtype]
    place: dict[str, str | int] = {"ranks": whole(cells["num_gpus"], 2), "link": "intra_node"}
    return "comm", {**kernel, "op": op, "dtype": dtype, **place, "bytes": size}
