"""Residuals of measured kernels beside the forms: which of them belong to a prediction, and their factor.

Residuals are those of one set of parameters in one form on one device: they carry a hash of the parameters and a few
physical times. Where either differs (a fit of one's own, another datasheet, a changed form) they are left out, and
`ResidualLibrary.notes` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from llmplan.errors import InputError
from llmplan.kernel_rows import LARGEST
from llmplan.perf.kernels.forms import Operator, Target
from llmplan.perf.kernels.residuals import Field, octaves, stretch_of
from llmplan.perf.roofline import Floats
from llmplan.spec.messages import complaint, dotted
from llmplan.spec.residuals import RESIDUALS_FORMAT, KernelResiduals, ResidualsHead

PER_MILLE, MOST_PER_MILLE = 1e-3, 7000
"""Of ln(measured / physical); more than a factor of 1000 is another unit."""
PROBES = 8
SAME = 1e-3
"""Relative difference of physical times that is none."""

Kernel = tuple[str, str, str]
"""Operator, format and kernel."""
TextOf = Callable[[str], tuple[str, str] | None]
"""(where, text) of the residuals of a device; None where there are none."""


class _Held(NamedTuple):
    """Residuals as they were read, and ready to be asked."""

    kept: KernelResiduals
    columns: Mapping[str, Floats]
    field: Field


def parameters_hash(parameters: Mapping[str, float]) -> str:
    """Return a short hash of parameters: the same ones, in any order, have the same."""
    text = json.dumps({name: f"{value:.9g}" for name, value in parameters.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def probe_places(rows: int) -> Floats:
    """Return the rows whose physical times are kept: at even steps, the first and the last among them."""
    return np.unique(np.linspace(0, rows - 1, PROBES).round().astype(int))


class ResidualLibrary:
    """Residuals of all devices, read when asked for."""

    def __init__(self, text_of: TextOf) -> None:
        """Take what returns the text of a device's residuals."""
        self._text_of = text_of
        self._read: dict[str, dict[Kernel, KernelResiduals]] = {}
        self._held: dict[tuple[str, Kernel], _Held] = {}
        self._stale: dict[str, set[Kernel]] = {}

    def ln_factor(
        self,
        target: Target,
        operator: Operator,
        dtype: str,
        kernel: str,
        parameters: Mapping[str, float],
        columns: Mapping[str, Floats],
    ) -> Floats | None:
        """Return ln(likely / physical) of each row, or None where no residuals belong to these parameters.

        Parameters
        ----------
        parameters : Mapping
            Those that the physical times are predicted with.
        columns : Mapping
            Numbers of the rows, (n,) each.
        """
        gpu, key = target.gpu.name, (operator.name, dtype, kernel)
        if (gpu, key) not in self._held:
            kept = self._of(gpu).get(key)
            if kept is None:
                return None
            self._held[gpu, key] = _held(kept, operator, gpu)
        held = self._held[gpu, key]
        if not _belongs(held, target, operator, parameters):
            self._stale.setdefault(gpu, set()).add(key)
            return None
        return held.field.at(octaves(columns, operator.columns))

    def notes(self) -> list[str]:
        """Return one line for each device whose residuals were left out, and why."""
        return [
            f"{gpu}: residuals of {', '.join(sorted({name for name, _, _ in kernels}))} "
            "belong to other parameters, forms or device figures; predicted without them"
            for gpu, kernels in sorted(self._stale.items())
        ]

    def kernels(self, gpu: str) -> list[KernelResiduals]:
        """Return all residuals of a device."""
        return list(self._of(gpu).values())

    def _of(self, gpu: str) -> dict[Kernel, KernelResiduals]:
        if gpu not in self._read:
            found = self._text_of(gpu)
            parts = () if found is None else read_residuals(found[1], found[0])[1]
            self._read[gpu] = {(one.operator, one.dtype, one.kernel): one for one in parts}
        return self._read[gpu]


def read_residuals(text: str, where: str) -> tuple[ResidualsHead, tuple[KernelResiduals, ...]]:
    """Return the head and the kernels of a file of residuals.

    Raises
    ------
    InputError
        A line is not what it should be.
    """
    number, made = 1, []
    try:
        first, *lines = text.splitlines() or ("{}",)
        head = ResidualsHead.model_validate_json(first)
        if head.residuals != RESIDUALS_FORMAT:
            raise InputError(f"{where}: is of format {head.residuals}; want {RESIDUALS_FORMAT}")
        for number, line in enumerate(lines, 2):
            made.append(KernelResiduals.model_validate_json(line, context={"base_units": True}))
            _check(made[-1], f"{where}: line {number}")
    except ValidationError as error:
        key = dotted(error.errors(include_url=False)[0]["loc"])
        said = f"{key}: {complaint(error)}" if key else "is no JSON; want one object"
        raise InputError(f"{where}: line {number}: {said}") from None
    return head, tuple(made)


def _check(one: KernelResiduals, where: str) -> None:
    """Refuse columns of other lengths, places that a column does not have, and numbers that no row has."""
    rows = len(one.moves_per_mille)
    for name, column in one.columns.items():
        if len(column.moves) != rows or not rows:
            raise InputError(f"{where}: {name} has {len(column.moves)} rows; want {rows}, and 1 or more")
        places = list(accumulate(column.moves))
        if min(places) < 0 or max(places) >= len(column.values):
            raise InputError(f"{where}: {name} names a value that it does not list; want 0 to {len(column.values) - 1}")
        if min(column.values) < 0 or max(column.values) > LARGEST:
            raise InputError(f"{where}: {name} holds {min(column.values):g} to {max(column.values):g}; want 0 to 1e13")
    if max(map(abs, accumulate(one.moves_per_mille))) > MOST_PER_MILLE:
        raise InputError(f"{where}: moves_per_mille leaves -{MOST_PER_MILLE} to {MOST_PER_MILLE}; write the file anew")


def numbers_of(kept: KernelResiduals) -> dict[str, Floats]:
    """Return the numbers of the rows behind residuals."""
    return {name: np.array(column.values)[np.cumsum(column.moves)] for name, column in kept.columns.items()}


def _held(kept: KernelResiduals, operator: Operator, gpu: str) -> _Held:
    names, columns = operator.columns, numbers_of(kept)
    if set(columns) != set(names):
        raise InputError(f"residuals of {kept.operator} on {gpu}: hold {', '.join(columns)}; want {', '.join(names)}")
    own = tuple(names.index(name) for name in operator.shape) if kept.own_shapes_only else ()
    values = PER_MILLE * np.cumsum(kept.moves_per_mille)
    field = Field.of(octaves(columns, names), values, stretch_of(kept.operator, names), kept=own)
    return _Held(kept, columns, field)


def _belongs(held: _Held, target: Target, operator: Operator, parameters: Mapping[str, float]) -> bool:
    """Return whether residuals are those of these parameters in this form on this device."""
    kept = held.kept
    if kept.parameters != parameters_hash(parameters):
        return False
    places = probe_places(len(held.field.values))
    if len(places) != len(kept.probes_s):
        return False
    columns = operator.prepare({name: column[places] for name, column in held.columns.items()})
    physical = operator.predict(columns, target, kept.dtype, kept.kernel, parameters)
    return bool(np.allclose(physical, kept.probes_s, rtol=SAME, atol=0.0))


def residual_lines(head: ResidualsHead, kernels: list[KernelResiduals]) -> Iterator[str]:
    """Yield the lines of a file of residuals."""
    ordered = sorted(kernels, key=lambda one: (one.operator, one.dtype, one.kernel))
    for one in (head, *ordered):
        yield json.dumps(_short(one.model_dump(mode="json")), separators=(",", ":"))


def _short(plain: Any) -> Any:
    """Return plain data with whole numbers as such."""
    if isinstance(plain, dict):
        return {name: _short(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_short(value) for value in plain]
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain
