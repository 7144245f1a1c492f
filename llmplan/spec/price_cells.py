"""Tables of prices cell by cell: text, numbers, counts and money, and the line of whatever is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from llmplan.errors import InputError

MOST = 1e15
"""In a cell: a petabyte, or money of any currency. More is a slip, and products of it leave the range of numbers."""
MOST_COUNT = 10**6
"""Of GPUs, CPUs or nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """One row by column; what is empty is not there."""

    where: str
    line: int
    texts: Mapping[str, str]
    usd_per_unit: Mapping[str, float] = field(default_factory=dict)
    """US dollars for one unit of each other currency."""

    @property
    def place(self) -> str:
        """The file with the line."""
        return f"{self.where}:{self.line}"

    def wrong(self, column: str, said: str) -> InputError:
        """Return the complaint about a cell."""
        return InputError(f"{self.place}: {column}: {said}")

    def has(self, *columns: str) -> bool:
        """Return whether one of the columns says something."""
        return any(column in self.texts for column in columns)

    def text(self, column: str, default: str = "") -> str:
        """Return a cell as it stands."""
        return self.texts.get(column, default)

    def number(self, column: str, default: float | None = None, least: float = 0.0, most: float = MOST) -> float:
        """Return a cell as a number."""
        if column not in self.texts:
            if default is None:
                raise self.wrong(column, "missing; want a number such as 2.5")
            return default
        text = self.texts[column]
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(column, f"{text!r} is no number; want one such as 1234.5") from None
        if not least <= value <= most:
            wanted = f"{most:g} or less" if value > most else f"{least:g} or more"
            raise self.wrong(column, f"{text} is out of range; want {wanted}")
        return value

    def count(self, column: str, least: int = 1) -> int | None:
        """Return a cell as a whole number, or None."""
        if column not in self.texts:
            return None
        value = self.number(column, least=least, most=MOST_COUNT)
        if value != int(value):
            raise self.wrong(column, f"{self.texts[column]} is no whole number")
        return int(value)

    def share(self, column: str) -> float:
        """Return a cell in percent as a share; 0 when empty."""
        if column not in self.texts:
            return 0.0
        plain = {column: self.texts[column].removesuffix("%").strip()}
        value = Cells(where=self.where, line=self.line, texts=plain).number(column)
        if value > 100:
            raise self.wrong(column, f"{self.texts[column]} is out of range; want 0 to 100 percent")
        return value / 100

    def usd(self, column: str, default: float | None = None) -> float:
        """Return a cell of money, given in the currency of the row, in USD."""
        value = self.number(column, default)
        code = self.text("currency", "USD").upper()
        if code == "USD":
            return value
        if code not in self.usd_per_unit:
            raise self.wrong("currency", f"{code} has no rate; give --rate {code}=1.08 (USD for 1 {code})")
        return round(value * self.usd_per_unit[code], 6)

    def day(self, column: str) -> date | None:
        """Return a cell as a day, or None."""
        if column not in self.texts:
            return None
        try:
            return date.fromisoformat(self.texts[column])
        except ValueError:
            raise self.wrong(column, f"{self.texts[column]!r} is no day; write it as 2026-01-31") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it was read."""

    where: str
    columns: Sequence[str]
    rows: Sequence[Cells]


def read_table(text: str, where: str, usd_per_unit: Mapping[str, float]) -> Table:
    """Return the rows of a CSV with a header; lines between rows that are empty or begin with # are passed over.

    A line break inside a quoted cell is read as a space.

    Raises
    ------
    InputError
        No CSV, no header, a column that comes twice, a row with more cells than the header, or no rows.
    """
    lines = _Lines(text)
    try:
        read = list(_rows(lines))
    except csv.Error as error:
        raise InputError(f"{where}:{lines.first}: is no CSV ({error})") from None
    if not read:
        raise InputError(f"{where}: holds nothing; want a CSV with a header")
    (first, columns), *rest = read
    _check_header(columns, f"{where}:{first}")
    rows = []
    for line, row in rest:
        if len(row) > len(columns):
            raise InputError(f"{where}:{line}: has more cells than the header; want {len(columns)}")
        texts = {name: " ".join(cell.split()) for name, cell in zip(columns, row, strict=False) if name and cell}
        rows.append(Cells(where=where, line=line, texts=texts, usd_per_unit=usd_per_unit))
    if not rows:
        raise InputError(f"{where}: holds a header and no rows")
    return Table(where=where, columns=columns, rows=rows)


class _Lines:
    """The lines of a table for the reader of CSV, which asks for more than one where a quoted cell is broken."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline=None)
        self.first = 0
        """Line on which the row begins."""
        self.between = True
        """No row is begun: what comes may be a comment."""

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, 1):
            if self.between and (not line.strip() or line.startswith("#")):
                continue
            if self.between:
                self.first, self.between = number, False
            yield line


def _rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row and the line on which it begins."""
    for row in csv.reader(lines, skipinitialspace=True, strict=True):
        yield lines.first, [cell.strip() for cell in row]
        lines.between = True


def _check_header(columns: Sequence[str], place: str) -> None:
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        raise InputError(f"{place}: cells are not separated by commas; want a CSV with commas")
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise InputError(f"{place}: column {twice[0]!r} is here twice; keep one")
