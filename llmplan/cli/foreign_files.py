"""Files of foreign measurements, as `calibrate import` takes them: text, gzipped text, or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmplan.errors import InputError, near

if TYPE_CHECKING:
    from llmplan.foreign_rows import Source, Table

MOST_BYTES = 512 * 2**20
MOST_ROWS = 10_000_000
PARQUET = ".parquet"
SUFFIXES = (".csv", ".csv.gz", ".txt", ".txt.gz", ".log", ".out", PARQUET)


def read_source(name: str) -> Source:
    """Return a file as it was read.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or is Parquet and pyarrow is not installed.
    """
    from llmplan.foreign_rows import Source
    from llmplan.spec.readers import Sort, read_text

    path = Path(name)
    if path.is_dir():
        raise InputError(f"{name}: is a folder; want files such as {name.rstrip('/')}/*.csv")
    if name.endswith(PARQUET):
        return Source(where=name, table=_parquet(path))
    text, where = read_text(name, MOST_BYTES, Sort(SUFFIXES, "give a text of nccl-tests, a CSV or Parquet"))
    return Source(where=where, text=text)


def _parquet(path: Path) -> Table:
    from llmplan.foreign_rows import Table

    if not path.is_file():
        beside = [p.name for p in path.parent.glob(f"*{PARQUET}")] if path.parent.is_dir() else []
        raise InputError(f"{path}: no such file; {near(path.name, beside) or 'give a Parquet file'}")
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(f"{path}: is Parquet; pip install 'llmplan[import]' reads it, or give it as CSV") from None
    try:
        with parquet.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            if rows > MOST_ROWS:
                raise InputError(f"{path}: holds {rows} rows; want {MOST_ROWS} or fewer")
            table = file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no Parquet that can be read ({str(error).splitlines()[0]})") from None
    columns = [column.to_pylist() for column in table.columns]
    if not rows:
        raise InputError(f"{path}: holds a header and no rows")
    return Table(where=str(path), columns=table.column_names, rows=list(zip(*columns, strict=True)))
