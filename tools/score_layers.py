"""Score sums of whole layers: four matrix products and attention in 16 bit, all measured on the same GPU.

    python tools/score_layers.py --data DIR        writes validation/layers.md

A layer of hidden size h, H heads and K KV heads of 128, inner width I takes the products (n, k) = ((H + 2K)·128, h),
(h, 128·H), (2I, h), (h, I) and prefill or decode attention at the same number of tokens. Every combination whose rows
exist counts; those with a row of a left-out shape stand apart. Residuals know the rows of the fits by heart, so with
them only layers count that hold no such row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llmplan.cli.measured import read_measured
from llmplan.kernel_library import library_of
from llmplan.kernel_residuals import ResidualLibrary
from llmplan.kernel_scores import PERCENT, predictions
from llmplan.spec.catalog import Catalog

HEAD_DIM = 128.0
ROOT = Path(__file__).resolve().parents[1]
Row = tuple[float, float, float, str]
"""Measured seconds, those of the form, those with residuals, and the side of the split."""
Products = dict[tuple[float, float], dict[float, Row]]
Attention = dict[tuple[float, float], dict[float, list[tuple[str, Row]]]]


def rows_of(data: str) -> tuple[dict[str, Products], dict[str, Attention]]:
    """Return products by (n, k) and tokens, and attention by heads and tokens, of each GPU."""
    catalog = Catalog()
    library, nearby = library_of(catalog), ResidualLibrary(catalog.kernel_residuals)
    products: dict[str, Products] = {}
    attention: dict[str, Attention] = {}
    for name in ("gemm", "attn_prefill", "attn_decode"):
        measured = read_measured(str(Path(data) / f"{name}.csv.gz"), catalog)
        corrected = predictions(measured, library, residuals=nearby)
        for one, more in zip(predictions(measured, library), corrected, strict=True):
            cell = one.cell
            if cell.dtype != "bfloat16":
                continue
            c = {column: values.tolist() for column, values in cell.columns.items()}
            seconds = (cell.measured_s, one.seconds, more.seconds)
            told = zip(*(part.tolist() for part in seconds), cell.split.tolist(), strict=True)
            for i, row in enumerate(told):
                if name == "gemm":
                    products.setdefault(cell.gpu, {}).setdefault((c["n"][i], c["k"][i]), {})[c["m"][i]] = row
                elif c["head_dim"][i] == HEAD_DIM and not c["window"][i]:
                    tokens = c["batch"][i] * (c["seq_len"][i] if name == "attn_prefill" else 1)
                    heads = attention.setdefault(cell.gpu, {}).setdefault((c["heads"][i], c["kv_heads"][i]), {})
                    heads.setdefault(tokens, []).append((name, row))
    return products, attention


def layers(products: Products, attention: Attention) -> Iterator[tuple[str, set[str], float, float]]:
    """Yield kind of attention, sides of its rows, and the signed errors of every layer without and with residuals."""
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
                        measured, form, corrected = (sum(r[side] for r in (*own, row)) for side in range(3))
                        form, corrected = (PERCENT * (x - measured) / measured for x in (form, corrected))
                        yield name, {r[3] for r in (*own, row)}, form, corrected


def table(data: str) -> str:
    """Return one line for each GPU, kind of attention and side."""
    products, attention = rows_of(data)
    lines = [
        "| GPU | attention | layers | n | MAPE | MdAPE | P90 | bias | n, no row of the fits | MAPE with residuals |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for gpu in sorted(products):
        found: dict[tuple[str, bool], list[tuple[float, float, bool]]] = {}
        for name, sides, form, corrected in layers(products[gpu], attention[gpu]):
            found.setdefault((name, "group" in sides), []).append((form, corrected, "train" not in sides))
        for (name, left_out), errors in sorted(found.items()):
            signed = np.array([form for form, _, _ in errors])
            size = np.abs(signed)
            unseen = np.abs([corrected for _, corrected, unknown in errors if unknown])
            shown = (
                f"{size.mean():.1f} | {np.median(size):.1f} | {np.percentile(size, 90):.1f} | {np.median(signed):+.1f}"
            )
            more = f"{len(unseen):,} | {unseen.mean():.1f}" if len(unseen) else "0 | –"
            side = "with a left-out shape" if left_out else "others"
            lines.append(f"| {gpu} | {name.removeprefix('attn_')} | {side} | {len(errors):,} | {shown} | {more} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    text = table(parser.parse_args().data)
    told = "Written by `tools/score_layers.py`, which says what a layer is; percent of the measured sum."
    head = f"# Sums of layers\n\n{told}\n\n"
    (ROOT / "validation" / "layers.md").write_text(head + text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
