"""Rows of foreign measurements on their way into our columns: what a row is, why one is refused, cells as numbers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from llmplan.errors import InputError

LARGEST = 1e13
"""Beyond this a number is a slip of the pen."""
SIXTEEN_BIT = "bfloat16"
"""Form of products and attention in either format of 16 bit: width and rate are the same."""
COLLECTIVE_DTYPES: Mapping[str, str] = {
    "half": "float16",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8",
    "uint8": "int8",
    "char": "int8",
}


class RefusedError(Exception):
    """A row that cannot be used; the text is the reason it is counted under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured kernel in our columns."""

    kind: str
    """Name of its file without suffix."""
    cells: Mapping[str, str | int]
    """Backend, version, perhaps the kernel, and the columns that name a row."""
    time_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as it was read: text, or the columns of a binary table."""

    where: str
    text: str = ""
    table: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with a header."""

    where: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def check(self, wanted: Sequence[str]) -> None:
        """Refuse a table that lacks columns.

        Raises
        ------
        InputError
            One or more are missing.
        """
        missing = [name for name in wanted if name not in self.columns]
        if missing:
            raise InputError(f"{self.where}: has no column {', '.join(missing)}; want {', '.join(wanted)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the files do not say."""

    gpu: str
    """The GPU all rows are of, as the catalog names it."""
    gpu_of: Callable[[str], str | None]
    """Catalog name of a device's own name; None where the catalog has none."""
    backend: str | None = None
    version: str | None = None
    op: str | None = None

    def is_other(self, device: str) -> bool:
        """Return whether a device is another GPU of the catalog than the one asked for."""
        return bool(device) and self.gpu_of(device) not in (None, self.gpu)


@dataclass(slots=True)
class Found:
    """What a file held."""

    rows: list[Row] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Iterator[Row]) -> None:
        """Add rows up to the first that is refused, which is counted."""
        try:
            self.rows.extend(rows)
        except RefusedError as error:
            self.refused[str(error)] += 1


def table_of(source: Source) -> Table:
    """Return the table that a file holds.

    Raises
    ------
    InputError
        The text is no CSV, holds nothing, or names a column twice.
    """
    if source.table is not None:
        return source.table
    try:
        lines = [row for row in csv.reader(io.StringIO(source.text)) if row]
    except csv.Error as error:
        raise InputError(f"{source.where}: is no CSV ({error})") from None
    if not lines:
        raise InputError(f"{source.where}: holds nothing; want rows of measured kernels")
    columns = [name.strip() for name in lines[0]]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise InputError(f"{source.where}: column {twice[0]!r} is here twice; keep one")
    if len(lines) == 1:
        raise InputError(f"{source.where}: holds a header and no rows")
    return Table(where=source.where, columns=columns, rows=lines[1:])


def cells_of(table: Table, found: Found) -> Iterator[Mapping[str, object]]:
    """Yield each row by column; one with more or fewer cells than the header is counted."""
    for row in table.rows:
        if len(row) == len(table.columns):
            yield dict(zip(table.columns, row, strict=True))
        else:
            found.refused["missing_field"] += 1


def word(value: object) -> str:
    """Return a cell as text; what is not there is empty."""
    return "" if value is None else str(value).strip()


def number(value: object, reason: str = "malformed") -> float:
    """Return a cell as a number of no more than LARGEST in size.

    Raises
    ------
    RefusedError
        It is none.
    """
    try:
        found = float(word(value))
    except ValueError:
        raise RefusedError(reason) from None
    if not -LARGEST <= found <= LARGEST:
        raise RefusedError(reason)
    return found


def whole(value: object, least: int = 1) -> int:
    """Return a cell as a whole number of `least` or more.

    Raises
    ------
    RefusedError
        It is none.
    """
    found = number(value)
    if found < least or not found.is_integer():
        raise RefusedError("malformed")
    return int(found)


def share(total: int, parts: int) -> int:
    """Return the part of `total` that each of several ranks holds.

    Raises
    ------
    RefusedError
        The ranks do not hold the same.
    """
    if total % parts:
        raise RefusedError("uneven_shard")
    return total // parts


def time_us(value: object, us_per_unit: float = 1.0) -> float:
    """Return a cell of time in microseconds, to five digits as in all our rows. [us]

    Raises
    ------
    RefusedError
        It is no time, or none was taken.
    """
    found = number(value, "no_time")
    if found <= 0:
        raise RefusedError("no_time")
    return float(f"{found * us_per_unit:.5g}")
