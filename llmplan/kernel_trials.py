"""Predictions of rows by parameters that were fitted to other rows of the same folder.

`calibrated`: a device as if it had never been measured but for a few rows of each kernel. `refitted`: parameters from
one side of a split of the folder. In both, what a device's own fits know is hidden first, other devices' fits are a
prior, rows that a fit saw are on the side `train` afterwards, and the others are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from llmplan.errors import InputError
from llmplan.kernel_fit import FEWEST_COLLECTIVE_ROWS, FEWEST_ROWS, TooFew, fit_parameters, fitted
from llmplan.kernel_intervals import fixed_uniform
from llmplan.kernel_library import KernelLibrary
from llmplan.kernel_rows import Cell, Measured, checksum_of
from llmplan.kernel_scores import Predicted
from llmplan.spec.kernels import KernelFit

SPLITS = ("half", "group", "gpu")
Tell = Callable[[str], None]
"""Takes a line about how far the work is."""


def calibrated(measured: Measured, library: KernelLibrary, rows: int, seed: int, tell: Tell) -> Iterator[Predicted]:
    """Yield each cell predicted from a few of its rows; those are on its side `train`, the rest on `point`.

    Parameters
    ----------
    measured : Measured
    library : KernelLibrary
        Fits of all devices; those of the cell's own device are not looked at.
    rows : int
        Rows drawn of each cell: operator, format, device and kernel.
    seed : int
        Which ones.
    tell : callable
        Hears of each cell.

    Raises
    ------
    InputError
        No row is to be drawn.
    """
    if rows < 1:
        raise InputError(f"--calibrate {rows}: want 1 row or more of each kernel")
    for number, cell in enumerate(measured.cells, 1):
        train = drawn(cell, rows, seed)
        tell(f"{number}/{len(measured.cells)} {_name(cell)}: {len(train)} of {len(cell.measured_s)} rows")
        yield _trial(_sided(cell, train, "point"), library, train)


def refitted(measured: Measured, library: KernelLibrary, split: str, tell: Tell) -> Iterator[Predicted]:
    """Yield each cell predicted from the other side of a split of the folder.

    Parameters
    ----------
    measured : Measured
    library : KernelLibrary
    split : 'half', 'group' or 'gpu'
        Half of the rows by the checksum of their key; whole shapes (points where an operator has none); or every
        device by the rows of the others.
    tell : callable
        Hears of each cell.
    """
    if split == "gpu":
        yield from _by_others(measured, library, tell)
        return
    for number, cell in enumerate(measured.cells, 1):
        seen, side = _seen(cell, split)
        train = np.flatnonzero(seen)
        needed = FEWEST_ROWS if cell.operator.shape else FEWEST_COLLECTIVE_ROWS
        short = f", want {needed}: fits of others" if len(train) < needed else ""
        tell(f"{number}/{len(measured.cells)} {_name(cell)}: {len(train)} of {len(cell.measured_s)} rows{short}")
        here = _sided(cell, train, side)
        if short:
            yield from _predicted(here, library.without(cell.target.gpu))
        else:
            yield _trial(here, library, train)


def _predicted(cell: Cell, library: KernelLibrary) -> Iterator[Predicted]:
    found = library.find(cell.target.gpu, cell.operator.name, cell.dtype, cell.kernel)
    if found is not None:
        seconds = cell.operator.predict(cell.columns, cell.target, cell.dtype, cell.kernel, found.parameters)
        yield Predicted(cell=cell, seconds=seconds, basis=found.basis)


def _trial(cell: Cell, library: KernelLibrary, train: np.ndarray) -> Predicted:
    """Return a cell predicted by a fit of some of its rows, near the fits of other devices."""
    gpu = cell.target.gpu
    prior = library.without(gpu).find(gpu, cell.operator.name, cell.dtype, cell.kernel)
    parameters = fit_parameters(cell, train, None if prior is None else prior.parameters)
    seconds = cell.operator.predict(cell.columns, cell.target, cell.dtype, cell.kernel, parameters)
    return Predicted(cell=cell, seconds=seconds, basis="calibrated")


def _by_others(measured: Measured, library: KernelLibrary, tell: Tell) -> Iterator[Predicted]:
    """Yield each cell as fits of the other devices' rows predict it; no prior, for that would know the device."""
    found: dict[str, list[KernelFit]] = {}
    for number, cell in enumerate(measured.cells, 1):
        one = fitted(cell)
        tell(f"{number}/{len(measured.cells)} {_name(cell)}: {len(cell.measured_s)} rows")
        found.setdefault(cell.gpu, [])
        if not isinstance(one, TooFew):
            found[cell.gpu].append(one)
    refits = library.replaced(found)
    for cell in measured.cells:
        yield from _predicted(cell, refits.without(cell.target.gpu))


def drawn(cell: Cell, rows: int, seed: int) -> np.ndarray:
    """Return the places of at most so many rows of a cell, always the same ones for a seed."""
    own = checksum_of((cell.operator.name, cell.dtype, cell.gpu, cell.kernel, cell.library, str(seed)))
    return np.sort(np.argsort(fixed_uniform(own, len(cell.measured_s)), kind="stable")[:rows])


def _seen(cell: Cell, split: str) -> tuple[np.ndarray, str]:
    """Return which rows a refit sees, and the side of the others."""
    if split == "half":
        return cell.checksum % 2 == 0, "point"
    side = "group" if cell.operator.shape else "point"
    return cell.split != side, side


def _sided(cell: Cell, train: np.ndarray, other: str) -> Cell:
    split = np.full(len(cell.measured_s), other, dtype=object)
    split[train] = "train"
    return replace(cell, split=split)


def _name(cell: Cell) -> str:
    return f"{cell.operator.name} {cell.dtype} on {cell.gpu} ({cell.kernel})"
