"""Tables of Vidur's profiler (microsoft/vidur, `data/profiling`): mlp.csv, attention.csv and those of its collectives.

Times are medians in milliseconds, of float16. Products and attention are written as bfloat16, which has the same width
and rate; a product keeps the shape of one rank. Attention takes the write of K and V with it, as all our rows do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from llmplan.errors import InputError
from llmplan.foreign_rows import (
    SIXTEEN_BIT,
    Asked,
    Found,
    RefusedError,
    Row,
    Source,
    Table,
    cells_of,
    share,
    table_of,
    time_us,
    whole,
    word,
)
from llmplan.perf.kernels.forms import MOVED

US_PER_MS = 1000.0
PREFIX = "time_stats."
"""Begins every column of times."""
OPS = ("all_reduce", "send_recv")
PRODUCTS = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")
MLP = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "use_gated_mlp", "num_tokens", "num_tensor_parallel_workers")
ATTENTION = (
    *("n_embd", "n_q_head", "n_kv_head", "num_tensor_parallel_workers"),
    *("batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill"),
)
NETWORK = ("num_workers", "size", "collective", "devices_per_node")
YES_NO = {"true": True, "false": False, "1": True, "0": False}
FOLDERS = ("compute", "mlp")
"""Folders of the profiler below which stand a device or a day, then the name of the model."""
Cells = Mapping[str, object]


def read(source: Source, asked: Asked) -> Found:
    """Return the rows of a table.

    Raises
    ------
    InputError
        The table is none of the profiler's, or lacks a column.
    """
    table, found = table_of(source), Found()
    library = {"backend": asked.backend or "vidur", "version": asked.version or ""}
    if "collective" in table.columns:
        table.check(NETWORK)
        for cells in cells_of(table, found):
            found.take(_network(cells, library))
    elif "prefill_chunk_size" in table.columns:
        table.check(ATTENTION)
        for cells in cells_of(table, found):
            found.take(_attention(cells, library))
    elif f"{PREFIX}mlp_up_proj.median" in table.columns:
        table.check(MLP)
        _layers(table, library, found)
    else:
        raise InputError(f"{table.where}: is no table of Vidur that is read; want mlp, attention or a collective")
    told = sum(row.kind in ("gemm", "attn_prefill", "attn_decode") for row in found.rows)
    if told:
        found.notes[f"float16 of products and attention is written as {SIXTEEN_BIT}: same width and rate"] += told
    return found


def _time_us(cells: Cells, op: str) -> float:
    return time_us(cells.get(f"{PREFIX}{op}.median"), US_PER_MS)


def _yes(value: object) -> bool:
    try:
        return YES_NO[word(value).lower()]
    except KeyError:
        raise RefusedError("malformed") from None


def _layers(table: Table, library: Mapping[str, str], found: Found) -> None:
    """Take each operator of a layer; a column that a model does not have is no row."""
    model = _model(table.where)
    products = [op for op in PRODUCTS if f"{PREFIX}{op}.median" in table.columns]
    passes = [op for op in MOVED if f"{PREFIX}{op}.median" in table.columns]
    for cells in cells_of(table, found):
        for op in products:
            found.take(_product(cells, op, library))
        for op in passes:
            found.take(_elementwise(cells, op, model, library))


def _product(cells: Cells, op: str, library: Mapping[str, str]) -> Iterator[Row]:
    hidden, inter, tp = (whole(cells[name]) for name in ("n_embd", "n_expanded_embd", "num_tensor_parallel_workers"))
    heads, kv_heads = whole(cells["n_head"]), whole(cells["n_kv_head"])
    width = share(hidden, heads)
    if op == "attn_pre_proj":
        n, k = (share(heads, tp) + 2 * share(kv_heads, tp)) * width, hidden
    elif op == "attn_post_proj":
        n, k = hidden, share(heads, tp) * width
    elif op == "mlp_up_proj":
        n, k = (2 if _yes(cells["use_gated_mlp"]) else 1) * share(inter, tp), hidden
    else:
        n, k = hidden, share(inter, tp)
    shape: dict[str, str | int] = {"dtype": SIXTEEN_BIT, "m": whole(cells["num_tokens"]), "n": n, "k": k}
    yield Row(kind="gemm", cells={**library, **shape}, time_us=_time_us(cells, op))


def _elementwise(cells: Cells, op: str, model: str, library: Mapping[str, str]) -> Iterator[Row]:
    if op == "mlp_act" and not _yes(cells["use_gated_mlp"]):
        raise RefusedError("ungated")  # reads one tensor where the form reads two
    shape = {
        "tp": whole(cells["num_tensor_parallel_workers"]),
        "tokens": whole(cells["num_tokens"]),
        "hidden": whole(cells["n_embd"]),
        "inter": whole(cells["n_expanded_embd"]),
        "heads": whole(cells["n_head"]),
        "kv_heads": whole(cells["n_kv_head"]),
    }
    yield Row(
        kind="vidur_elementwise", cells={**library, "model": model, "op": op, **shape}, time_us=_time_us(cells, op)
    )


def _model(where: str) -> str:
    """Return the model of a table by its folders: compute/a100/org/name/mlp.csv."""
    folders = PurePath(where).parts[:-1]
    for marker in FOLDERS:
        if marker in folders[:-2]:
            return "/".join(folders[folders.index(marker) + 2 :])
    return folders[-1] if folders and folders[-1] not in ("..", "/") else "unnamed"


def _attention(cells: Cells, library: Mapping[str, str]) -> Iterator[Row]:
    tp, all_heads = whole(cells["num_tensor_parallel_workers"]), whole(cells["n_q_head"])
    shape = {
        "heads": share(all_heads, tp),
        "kv_heads": share(whole(cells["n_kv_head"]), tp),
        "head_dim": share(whole(cells["n_embd"]), all_heads),
        "window": 0,
    }
    kernel = word(cells.get("attention_backend")).rpartition(".")[2].lower()
    of_kernel: dict[str, str | int] = {
        **library,
        "kernel": kernel,
        "kv_dtype": SIXTEEN_BIT,
        "batch": whole(cells["batch_size"]),
    }
    save = f"{PREFIX}attn_kv_cache_save.median"
    saved_us = time_us(cells[save], US_PER_MS) if _is_time(cells.get(save)) else 0.0
    if _yes(cells["is_prefill"]):
        tokens = {"seq_len": whole(cells["prefill_chunk_size"]), "prefix_len": whole(cells["kv_cache_size"], 0)}
        kind, taken_us = "attn_prefill", _time_us(cells, "attn_prefill")
    else:
        tokens = {"ctx_len": whole(cells["kv_cache_size"])}
        kind, taken_us = "attn_decode", _time_us(cells, "attn_decode")
    yield Row(kind=kind, cells={**of_kernel, **tokens, **shape}, time_us=time_us(taken_us + saved_us))


def _is_time(value: object) -> bool:
    """Return whether a cell says more than nothing, nan or 0."""
    return word(value).lower() not in ("", "nan", "0", "0.0")


def _network(cells: Cells, library: Mapping[str, str]) -> Iterator[Row]:
    op = word(cells["collective"])
    if op not in OPS:
        raise RefusedError("unknown_op")
    ranks, on_node = whole(cells["num_workers"], 2), whole(cells["devices_per_node"])
    yield Row(
        kind="vidur_comm",
        cells={
            **library, "op": op, "ranks": ranks, "devices_per_node": on_node,
            "link": "intra_node" if ranks <= on_node else "inter_node", "bytes": whole(cells["size"]),
        },
        time_us=_time_us(cells, op),
    )  # fmt: skip
