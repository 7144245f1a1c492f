"""Files of measured rows that grow by a row at a time: what a run has measured outlives it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from errno import ENOSPC
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from llmplan.errors import InputError
from llmplan.kernel_bench import columns

if TYPE_CHECKING:
    from llmplan.kernel_bench import Implementation
    from llmplan.kernel_plan import Planned

COLD = "cold"
"""Folder of the rows with a cold L2: fits take those of the folder itself."""


class RowFiles:
    """The rows of one GPU in a folder."""

    def __init__(self, folder: str, system: str, files: Sequence[str], told: Callable[[str], None]) -> None:
        """Read what is there.

        Raises
        ------
        InputError
            The folder is none, or holds rows of another GPU or with other columns.
        """
        self._base = Path(folder)
        self._seen: set[tuple[str, ...]] = set()
        if self._base.exists() and not self._base.is_dir():
            raise InputError(f"--output-dir {folder}: is a file; want a folder")
        if not self._base.parent.is_dir():
            raise InputError(f"--output-dir {folder}: no folder {str(self._base.parent)!r}; make it first")
        for file in files:
            for path in (self._base / f"{file}.csv", self._base / COLD / f"{file}.csv"):
                if path.is_file():
                    self._read(path, file, system, told)

    def _read(self, path: Path, file: str, system: str, told: Callable[[str], None]) -> None:
        with path.open("rb") as there:
            text = there.read()
        whole = text.rfind(b"\n") + 1
        rows = list(csv.reader(io.StringIO(text[:whole].decode(errors="replace"))))
        wanted = list(columns(file))
        if rows and rows[0] != wanted:
            raise InputError(f"{path}: has other columns than this command writes; want another --output-dir")
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(wanted):
                raise InputError(f"{path}: line {number}: has {len(row)} fields; want {len(wanted)}, or no such line")
            if row[0] != system:
                raise InputError(f"{path}: holds rows of {row[0]}, but this GPU is {system}; want another --output-dir")
            self._seen.add(_name(file, dict(zip(wanted, row, strict=True))))
        if whole < len(text):
            with path.open("r+b") as torn:
                torn.truncate(whole)
            told(f"{path}: dropped a torn last line")

    def holds(self, row: Planned, by: Implementation) -> bool:
        """Return whether a row was measured before, by the same version of the same kernel."""
        return (row.file, row.l2, by.kernel, by.version, *map(str, row.key)) in self._seen

    def add(self, row: Planned, cells: Sequence[str]) -> None:
        """Append a row, whole or not at all.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        folder = self._base / COLD if row.l2 == "cold" else self._base
        path = folder / f"{row.file}.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                before = file.tell()
                lines = [cells] if before else [columns(row.file), cells]
                _appended(file, before, _lines(lines).encode())
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
        self._seen.add(_name(row.file, dict(zip(columns(row.file), cells, strict=True))))


def _appended(file: FileIO, before: int, text: bytes) -> None:
    """Write text at the end of a file at once; what was written of it in vain is taken back."""
    try:
        done = file.write(text)
    except OSError:
        file.truncate(before)
        raise
    if done != len(text):
        file.truncate(before)
        raise OSError(ENOSPC, "no space left")


def _name(file: str, row: dict[str, str]) -> tuple[str, ...]:
    from llmplan.kernel_plan import COLUMNS

    return (file, row["l2"], row["kernel"], row["version"], *(row[name] for name in COLUMNS[file]))


def _lines(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
