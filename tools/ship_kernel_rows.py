"""Draw the rows that the project ships from a folder of measured kernels: `validation/kernels`.

    python tools/ship_kernel_rows.py --data DIR [--rows 40]

Of every operator, format, GPU and kernel at most so many rows that no fit saw, in the order of a checksum of their
key: always the same ones. Columns and text of each row stay as they were; what is left out is counted.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from pathlib import Path
from zlib import crc32

from llmplan.kernel_rows import KEYS, is_group, is_point
from llmplan.perf.kernels.forms import OPERATORS

OUT = Path(__file__).resolve().parents[1] / "validation" / "kernels"


def is_left_out(kind: str, row: dict[str, str]) -> bool:
    """Return whether no fit sees a row."""
    shape = OPERATORS[kind].shape if kind in OPERATORS else ()
    return (bool(shape) and is_group(row[c] for c in shape)) or is_point(row[c] for c in KEYS[kind])


def main() -> None:
    """Write one file for each file of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=40)
    asked = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for kind in KEYS:
        with gzip.open(asked.data / f"{kind}.csv.gz", "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
        cells: dict[tuple[str, ...], list[tuple[int, dict[str, str]]]] = {}
        for row in rows:
            if is_left_out(kind, row):
                cell = tuple(row.get(c, "") for c in ("system", "op", "dtype", "kv_dtype", "kernel"))
                key = "|".join(row[c] for c in KEYS[kind])
                cells.setdefault(cell, []).append((crc32(("ship" + key).encode()), row))
        kept = [row for cell in sorted(cells) for _, row in sorted(cells[cell], key=lambda x: x[0])[: asked.rows]]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        (OUT / f"{kind}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
        print(f"{kind}: {len(kept)} of {len(rows)} rows")


if __name__ == "__main__":
    main()
