"""Options that several commands share, and the files and streams they mean."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.freshness import AsOf
    from llmplan.report.currency import Currency
    from llmplan.spec.catalog import Catalog

EXIT_CODES = (
    "Exit codes: 0 answer given · 1 internal error · 2 usage, file or catalog error · 3 a rule broke, or a warning "
    "with --warn-as-error · 4 infeasible, or bounds not kept (nearest answer printed) · 6 solver limit hit, a feasible "
    "plan is printed · 130 interrupted."
)
WIDTH = 100
"""Columns of a table that goes to no terminal."""
WIDEST = 160
MOST_SEED = 2**31 - 1
"""Largest number that chooses rows."""


class OutputFormat(StrEnum):
    """How an answer is printed."""

    table = "table"
    json = "json"
    yaml = "yaml"
    markdown = "markdown"
    csv = "csv"


SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".csv": "csv", ".md": "markdown", ".txt": "table"}

FormatOption = Annotated[OutputFormat, typer.Option("--format", "-f", help="How to print the answer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Also write the answer here; its suffix sets its format."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a value of the question (slo.ttft='500 ms p95')."),
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Add operators, memory, proof, dropped candidates.")]
WideOption = Annotated[bool, typer.Option("--wide", help="Use more columns.")]
CatalogOption = Annotated[
    list[str] | None,
    typer.Option("--catalog", metavar="DIR", help="Folder with catalog files of your own, searched first."),
]
CurrencyOption = Annotated[
    str | None,
    typer.Option("--currency", metavar="CODE=RATE", help="Show tables in another currency: EUR=0.92 for 1 USD."),
]
MaxAgeOption = Annotated[
    int | None,
    typer.Option("--max-price-age", metavar="DAYS", help="Warn of prices older than this (90)."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show where an internal error happened.")]
NoColorOption = Annotated[bool, typer.Option("--no-color", help="Plain text, also on a terminal.")]
WarnOption = Annotated[bool, typer.Option("--warn-as-error", help="Exit 3 when there are warnings.")]
ZeroOption = Annotated[bool, typer.Option("--exit-zero", help="Exit 0 also where the code would be 3, 4 or 6.")]


def opened_catalog(folders: list[str] | None) -> Catalog:
    """Return the catalog with the user's folders first: options, then LLMPLAN_CATALOG."""
    from llmplan.spec.catalog import Catalog

    from_environment = [p for p in os.environ.get("LLMPLAN_CATALOG", "").split(os.pathsep) if p]
    for path in from_environment:
        if not Path(path).is_dir():
            raise InputError(f"LLMPLAN_CATALOG: {path}: no such folder")
    return Catalog.with_folders([*(folders or []), *from_environment])


def rate_of(text: str, option: str, example: str) -> tuple[str, float]:
    """Return the currency and the number of a text such as EUR=0.92.

    Raises
    ------
    InputError
        The text is no currency with a positive rate.
    """
    code, _, number = text.partition("=")
    code = code.strip().upper()
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if not (len(code) == 3 and code.isascii() and code.isalpha() and 0 < rate < float("inf")):
        raise InputError(f"{option} {text}: is no currency with its rate; write it as {example}")
    if code == "USD" and rate != 1:
        raise InputError(f"{option} {text}: 1 USD is 1 USD; want another currency such as {example}")
    return code, rate


def shown_currency(text: str | None) -> Currency:
    """Return the currency of tables: the option, LLMPLAN_CURRENCY, or USD.

    Raises
    ------
    InputError
        The text is no currency with a positive rate.
    """
    from llmplan.report.currency import USD, Currency

    if text is not None:
        return Currency(*rate_of(text, "--currency", "EUR=0.92 (EUR for 1 USD)"))
    given = os.environ.get("LLMPLAN_CURRENCY")
    return Currency(*rate_of(given, "LLMPLAN_CURRENCY", "EUR=0.92 (EUR for 1 USD)")) if given else USD


def as_of(max_price_age: int | None) -> AsOf:
    """Return today (or LLMPLAN_TODAY) with the age that prices may have.

    Raises
    ------
    InputError
        The age is negative, or LLMPLAN_TODAY is no day.
    """
    from llmplan.freshness import AsOf

    if max_price_age is None:
        return AsOf()
    if max_price_age < 0:
        raise InputError(f"--max-price-age {max_price_age}: want 0 days or more")
    return AsOf(max_age_days=max_price_age)


def table_width(wide: bool = False) -> int:
    """Return the columns to print for: the terminal's, COLUMNS, or 100."""
    if wide:
        return WIDEST
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH


def colored(no_color: bool) -> bool:
    """Return whether to print colors: a terminal, and nobody said no."""
    if no_color or "NO_COLOR" in os.environ:
        return False
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE")
    return bool(forced) or sys.stdout.isatty()


def told(quiet: bool, text: str) -> None:
    """Say something on stderr; when nobody reads it any more, the work goes on."""
    if not quiet:
        try:
            typer.echo(text, err=True)
        except BrokenPipeError:
            muted(sys.stderr)


def muted(stream: IO[str]) -> None:
    """Send a stream whose reader has gone to nowhere, so that what is still to be written does no harm."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_output(
    name: str | None, overwrite: bool, option: str = "--output", suffixes: Collection[str] = tuple(SUFFIXES)
) -> None:
    """Refuse an output file that cannot be written, before any work is done.

    Raises
    ------
    InputError
        Unknown suffix, missing folder, existing file without --overwrite, or no permission.
    """
    if name is None:
        return
    path = Path(name)
    if path.suffix not in suffixes:
        raise InputError(f"{option} {name}: unknown suffix {path.suffix!r}; want one of {', '.join(suffixes)}")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {name}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    if not path.parent.is_dir():
        raise InputError(f"{option} {name}: no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        raise InputError(f"{option} {name}: is a folder; want a file")
    if path.exists() and not overwrite:
        raise InputError(f"{option} {name}: exists; give another name or --overwrite")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option} {name}: the folder cannot be written to")


def written(name: str, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    InputError
        The file cannot be written; what was there stays.
    """
    path = Path(name)
    try:
        with _replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"--output {name}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
