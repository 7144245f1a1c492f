"""What times kernels, and the loop that has planned rows timed: no PyTorch, no files, no clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llmplan.errors import LlmplanError
from llmplan.kernel_plan import COLUMNS, Planned
from llmplan.kernel_rows import MICROSECOND

DIGITS = 5
"""Of a written time."""
LEADING, TRAILING = ("system", "backend", "version", "kernel", "driver", "l2"), ("time_us", "power_w")


class OutOfMemoryError(LlmplanError):
    """A row does not fit into what is free on the device."""


class UnsupportedError(LlmplanError):
    """Neither the device nor a library has a kernel for a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """Whose kernel runs."""

    kernel: str
    backend: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one row took."""

    seconds: float
    power_w: float | None = None
    """Mean of the device while the row was timed; None where it cannot be read."""


class Bench(Protocol):
    """A machine with GPUs on which rows are timed."""

    name: str
    """The GPU as its driver calls it."""
    driver: str
    """Version of the driver; empty where it cannot be read."""
    devices: int

    def implementation(self, row: Planned) -> Implementation:
        """Return whose kernel a row would run."""

    def timed(self, row: Planned, copies: int) -> Timing:
        """Return the time of one call, `copies` sets of buffers taking turns.

        Raises
        ------
        OutOfMemoryError
            The row does not fit now.
        UnsupportedError
            Nothing here runs the row.
        """

    def close(self) -> None:
        """Let go of the device."""


class Sheet(Protocol):
    """Where rows are kept."""

    def holds(self, row: Planned, by: Implementation) -> bool:
        """Return whether a row was measured before."""

    def add(self, row: Planned, cells: Sequence[str]) -> None:
        """Keep a measured row."""


@dataclass(slots=True)
class Progress:
    """How far a run has come."""

    kept: int = 0
    """Rows of an earlier run."""
    measured: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that could not be measured, by reason."""
    left: int = 0


def columns(file: str) -> tuple[str, ...]:
    """Return the columns of a file of rows."""
    return (*LEADING, *COLUMNS[file], *TRAILING)


def cells(row: Planned, system: str, by: Implementation, driver: str, timing: Timing) -> tuple[str, ...]:
    """Return a measured row as text, in the order of `columns`."""
    power = "" if timing.power_w is None else f"{timing.power_w:.0f}"
    time_us = f"{timing.seconds / MICROSECOND:.{DIGITS}g}"
    if "e" in time_us:
        time_us = f"{float(time_us):.0f}"
    return (system, by.backend, by.version, by.kernel, driver, row.l2, *map(str, row.key), time_us, power)


def measure(
    plan: Sequence[Planned],
    bench: Bench,
    sheet: Sheet,
    copies: Callable[[Planned], int],
    system: str,
    in_time: Callable[[], bool],
    told: Callable[[Planned, Progress], None],
) -> Progress:
    """Time every row of a plan that the sheet does not hold, until time is up.

    Parameters
    ----------
    copies : callable
        Sets of buffers that take turns in a row.
    system : str
        Name of the GPU in the rows.
    in_time : callable
        Whether there is time for another row.
    told : callable
        Called after each row with how far the run has come.
    """
    at = Progress(left=len(plan))
    for row in plan:
        by = bench.implementation(row)
        if sheet.holds(row, by):
            at.kept += 1
        elif not in_time():
            continue
        else:
            try:
                timing = bench.timed(row, copies(row))
            except OutOfMemoryError:
                at.skipped["out of memory"] += 1
            except UnsupportedError as error:
                at.skipped[f"{row.cell[0]} {row.cell[1]}: {error}".replace(" : ", ": ")] += 1
            else:
                sheet.add(row, cells(row, system, by, bench.driver, timing))
                at.measured += 1
        at.left -= 1
        told(row, at)
    return at
