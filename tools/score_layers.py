"""Score sums of whole layers: four matrix products and attention in 16 bit, all measured on the same GPU.

    python tools/score_layers.py --data DIR

A layer of hidden size h, H heads and K KV heads of 128, inner width I takes the products (n, k) = ((H + 2K)·128, h),
(h, 128·H), (2I, h), (h, I) and prefill or decode attention at the same number of tokens. Every combination whose rows
exist counts; those with a row of a left-out shape stand apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llmplan.cli.measured import read_measured
from llmplan.kernel_library import library_of
from llmplan.kernel_scores import PERCENT, predictions
from llmplan.spec.catalog import Catalog

HEAD_DIM = 128.0
Row = tuple[float, float, bool]
"""Measured and predicted seconds, and whether the row is of a left-out shape."""
Products = dict[tuple[float, float], dict[float, Row]]
Attention = dict[tuple[float, float], dict[float, list[tuple[str, Row]]]]


def rows_of(data: str) -> tuple[dict[str, Products], dict[str, Attention]]:
    """Return products by (n, k) and tokens, and attention by heads and tokens, of each GPU."""
    catalog = Catalog()
    library = library_of(catalog)
    products: dict[str, Products] = {}
    attention: dict[str, Attention] = {}
    for name in ("gemm", "attn_prefill", "attn_decode"):
        for one in predictions(read_measured(str(Path(data) / f"{name}.csv.gz"), catalog), library):
            cell = one.cell
            if cell.dtype != "bfloat16":
                continue
            c = {column: values.tolist() for column, values in cell.columns.items()}
            told = zip(cell.measured_s.tolist(), one.seconds.tolist(), (cell.split == "group").tolist(), strict=True)
            for i, row in enumerate(told):
                if name == "gemm":
                    products.setdefault(cell.gpu, {}).setdefault((c["n"][i], c["k"][i]), {})[c["m"][i]] = row
                elif c["head_dim"][i] == HEAD_DIM and not c["window"][i]:
                    tokens = c["batch"][i] * (c["seq_len"][i] if name == "attn_prefill" else 1)
                    heads = attention.setdefault(cell.gpu, {}).setdefault((c["heads"][i], c["kv_heads"][i]), {})
                    heads.setdefault(tokens, []).append((name, row))
    return products, attention


def layers(products: Products, attention: Attention) -> Iterator[tuple[str, bool, float]]:
    """Yield kind of attention, whether a row is of a left-out shape, and the signed error of every layer. [%]"""
    for (heads, kv_heads), by_tokens in attention.items():
        width = (heads + 2 * kv_heads) * HEAD_DIM
        for hidden in [k for n, k in products if n == width and (k, HEAD_DIM * heads) in products]:
            for inner in [n / 2 for n, k in products if k == hidden and (hidden, n / 2) in products]:
                four = [
                    products[key]
                    for key in ((width, hidden), (hidden, HEAD_DIM * heads), (2 * inner, hidden), (hidden, inner))
                ]
                for tokens in set(by_tokens).intersection(*four):
                    own = [rows[tokens] for rows in four]
                    for name, row in by_tokens[tokens]:
                        measured, predicted = (sum(r[side] for r in (*own, row)) for side in (0, 1))
                        left_out = any(r[2] for r in (*own, row))
                        yield name, left_out, PERCENT * (predicted - measured) / measured


def main() -> None:
    """Print one line for each GPU, kind of attention and side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    products, attention = rows_of(parser.parse_args().data)
    print("| GPU | attention | rows | layers | MAPE | MdAPE | bias |\n|---|---|---|---:|---:|---:|---:|")
    for gpu in sorted(products):
        found: dict[tuple[str, bool], list[float]] = {}
        for name, left_out, error in layers(products[gpu], attention[gpu]):
            found.setdefault((name, left_out), []).append(error)
        for (name, left_out), errors in sorted(found.items()):
            side, signed = "left-out shape" if left_out else "others", np.array(errors)
            size = np.abs(signed)
            shown = f"{size.mean():.1f} | {np.median(size):.1f} | {np.median(signed):+.1f}"
            print(f"| {gpu} | {name.removeprefix('attn_')} | {side} | {len(errors):,} | {shown} |")


if __name__ == "__main__":
    main()
