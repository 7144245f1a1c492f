"""What `llmplan validate kernels` takes the errors of, and against which limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmplan.cli import options as o
from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.kernel_gates import Gate
    from llmplan.kernel_library import KernelLibrary
    from llmplan.kernel_residuals import ResidualLibrary
    from llmplan.kernel_rows import Measured
    from llmplan.kernel_scores import Predicted, Score
    from llmplan.spec.catalog import Catalog

MOST_GATE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Which parameters predict: those of the catalog, or others for the sake of the test."""

    hide: str | None = None
    rows: int | None = None
    seed: int = 0
    fit: str | None = None

    @classmethod
    def of(cls, hide: str | None, rows: int | None, seed: int | None, fit: str | None) -> Trial:
        """Return the trial that options ask for.

        Raises
        ------
        InputError
            Two of them are asked for at once, or a number is none that there can be.
        """
        given = [("--hide", hide), ("--calibrate", rows), ("--fit", fit)]
        asked = [f"{name} {value}" for name, value in given if value is not None]
        if len(asked) > 1:
            raise InputError(f"{asked[1]}: does not go with {asked[0]}; give one of them")
        if seed is not None and rows is None:
            raise InputError(f"--seed {seed}: goes with --calibrate only; give --calibrate N as well")
        if rows is not None and rows < 1:
            raise InputError(f"--calibrate {rows}: want 1 row or more of each kernel")
        return cls(hide=hide, rows=rows, seed=seed or 0, fit=fit)

    def predicted(
        self, measured: Measured, library: KernelLibrary, nearby: ResidualLibrary | None, quiet: bool
    ) -> Iterator[Predicted]:
        """Return the predictions; refits, which no residuals belong to, say on stderr how far they are."""
        from llmplan.kernel_scores import predictions
        from llmplan.kernel_trials import calibrated, refitted

        def tell(text: str) -> None:
            o.told(quiet, text)

        if self.rows is not None:
            return calibrated(measured, library, self.rows, self.seed, tell)
        if self.fit is not None:
            return refitted(measured, library, self.fit, tell)
        return predictions(measured, library, self.hide, nearby)

    @property
    def told(self) -> dict[str, Any]:
        """Return what was done, as plain data; nothing where the catalog's parameters predict."""
        draw = None if self.rows is None else {"rows": self.rows, "seed": self.seed}
        asked = {"hide": self.hide, "calibrate": draw, "fit": self.fit}
        found = {name: value for name, value in asked.items() if value is not None}
        return {"trial": found} if found else {}


def checked_limit(max_mape: float | None) -> None:
    """Refuse a limit that every number keeps or none.

    Raises
    ------
    InputError
        It is negative or no number.
    """
    if max_mape is not None and not (0 <= max_mape < math.inf):
        raise InputError(f"--max-mape {max_mape:g}: want a limit in percent, 0 or more")


def read_gates(name: str | None, catalog: Catalog) -> list[Gate]:
    """Return the limits of a file; none without one.

    Raises
    ------
    InputError
        The file cannot be read, or a line of it is no limit.
    """
    if name is None:
        return []
    from llmplan.kernel_gates import read_gates as gates_of
    from llmplan.spec.readers import read_text

    text, where = read_text(name, MOST_GATE_BYTES)
    return gates_of(text, where, lambda gpu: catalog.gpu(gpu).name)


def limit_of_all(scored: Sequence[Score], most: float) -> tuple[bool, str]:
    """Return whether the mean error of every left-out cell is within a limit, and that as a line."""
    left_out = [s for s in scored if s.split != "train"]
    head = f"--max-mape {most:g}: "
    if not left_out:
        return False, f"{head}no left-out rows scored"
    worst = max(left_out, key=lambda s: s.errors.mape)
    name = f"{worst.op} {worst.dtype} on {worst.gpu} ({worst.kernel}), {worst.split}"
    return worst.errors.mape <= most, f"{head}{worst.errors.mape:.2f} (worst of {len(left_out)} cells, {name})"


def coverage_line(told: Mapping[str, Any]) -> str:
    """Return how many rows the errors are of, and why others were refused."""
    coverage = told["coverage"]
    refused = coverage["refused"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items()) or "none"
    rows = coverage["ran"] + sum(refused.values())
    share = f"; coverage {100 * coverage['ran'] / rows:.1f} %" if rows else ""
    return f"{coverage['ran']} rows scored; refused: {reasons}{share}."
