"""Which parameters predict a kernel on a device, and what that rests on.

Of a device with fits: those of this very kernel (`calibrated`), else of the kernel of the same operator and format
with most rows (`transferred`). Of a device without: those of one of its architecture (`transferred`), else, for
products and attention, of the nearest architecture of its maker, else typical ones, the median of each parameter over
all devices (both `datasheet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np

from llmplan.errors import InputError
from llmplan.perf.fits import Kernel, KernelOf
from llmplan.perf.kernels.forms import OPERATORS
from llmplan.spec.catalog import Catalog
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Gpu
from llmplan.spec.kernels import KernelFit, KernelFits

NEAREST: Mapping[str, tuple[str, ...]] = {
    "volta": ("ampere", "hopper"),
    "turing": ("ada", "ampere"),
    "ampere": ("hopper", "ada"),
    "ada": ("ampere", "hopper"),
    "hopper": ("blackwell", "ampere"),
    "blackwell": ("hopper", "ampere"),
    "blackwell-rtx": ("ada", "ampere"),
    "rubin": ("blackwell", "hopper"),
}
"""Architectures of the same maker, nearest first: neighbors in time, servers before cards where the device is one."""
MOST_OF_A_STEP = frozenset({"gemm", "attn_prefill", "attn_decode"})
CARRIED = frozenset({"gemm", "attn_prefill", "attn_decode", "mla_prefill", "mla_decode"})
"""Operators that carry over to the next architecture; experts are another library there, collectives another link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Parameters and what they rest on."""

    parameters: Mapping[str, float]
    basis: Basis
    kernel: str = ""
    """The kernel that they are of; none: a median over devices."""
    architecture: str = ""
    """Of the device that it was measured on."""


class KernelLibrary:
    """All fitted kernels, by device."""

    def __init__(self, by_gpu: Mapping[str, Sequence[KernelFit]], architecture_of: Mapping[str, str]) -> None:
        """Take the fitted kernels of each device, and its architecture."""
        self._by_gpu = by_gpu
        self._architecture = architecture_of
        self._known: dict[tuple[str, str, str], Mapping[str, float] | None] = {}

    def without(self, gpu: Gpu, family: bool = False) -> KernelLibrary:
        """Return the library as if a device (or all of its architecture) had never been measured."""
        kin = {one for one, architecture in self._architecture.items() if family and architecture == gpu.architecture}
        hidden = {gpu.name, *kin}
        kept = {one: kernels for one, kernels in self._by_gpu.items() if one not in hidden}
        return KernelLibrary(kept, self._architecture)

    def replaced(self, by_gpu: Mapping[str, Sequence[KernelFit]]) -> KernelLibrary:
        """Return the library with all fits of some devices replaced."""
        return KernelLibrary({**self._by_gpu, **by_gpu}, self._architecture)

    def find(self, gpu: Gpu, operator: str, dtype: str, kernel: str) -> Found | None:
        """Return the parameters for a kernel, or for the one with most rows where it has no name.

        None where nobody measured its operator in this format.
        """
        own = self._best(self._by_gpu.get(gpu.name, ()), operator, dtype, kernel)
        if own is not None:
            same = own.kernel == kernel or not kernel
            basis: Basis = "calibrated" if same else "transferred"
            return Found(parameters=own.parameters, basis=basis, kernel=own.kernel, architecture=gpu.architecture)
        carried = NEAREST.get(gpu.architecture, ()) if operator in CARRIED else ()
        for architecture in (gpu.architecture, *carried):
            near = self._of(architecture, operator, dtype, kernel)
            if near is not None:
                basis = "transferred" if architecture == gpu.architecture else "datasheet"
                return Found(parameters=near.parameters, basis=basis, kernel=near.kernel, architecture=architecture)
        typical = self._typical(operator, dtype, kernel)
        return None if typical is None else Found(parameters=typical, basis="datasheet")

    def _of(self, architecture: str, operator: str, dtype: str, kernel: str) -> KernelFit | None:
        """Return a kernel of an architecture: the one that is asked for, of the device with most rows of it."""
        alike = [
            one
            for gpu, kernels in sorted(self._by_gpu.items())
            if self._architecture.get(gpu) == architecture
            for one in kernels
        ]
        return self._best(alike, operator, dtype, kernel)

    @staticmethod
    def _best(kernels: Iterable[KernelFit], operator: str, dtype: str, kernel: str) -> KernelFit | None:
        alike = [one for one in kernels if (one.operator, one.dtype) == (operator, dtype)]
        return max(alike, key=lambda one: (one.kernel == kernel, one.evidence.rows), default=None)

    def basis(self, gpu: Gpu) -> Basis:
        """Return what the times of a device rest on: its own rows, those of its architecture, or a datasheet.

        A few kernels of its own do not make a device a measured one: products and both kinds of attention must be.
        """
        if self._has_most(gpu.name):
            return "calibrated"
        kin = any(self._architecture[other] == gpu.architecture and self._has_most(other) for other in self._by_gpu)
        return "transferred" if kin else "datasheet"

    def _has_most(self, gpu: str) -> bool:
        return {one.operator for one in self._by_gpu.get(gpu, ())} >= MOST_OF_A_STEP

    def _typical(self, operator: str, dtype: str, kernel: str) -> Mapping[str, float] | None:
        """Return the median of each parameter over devices, each with its kernel of most rows."""
        key = (operator, dtype, kernel)
        if key not in self._known:
            self._known[key] = self._median(*key)
        return self._known[key]

    def _median(self, operator: str, dtype: str, kernel: str) -> Mapping[str, float] | None:
        best = [self._best(kernels, operator, dtype, kernel) for _, kernels in sorted(self._by_gpu.items())]
        found = [one.parameters for one in best if one is not None]
        if not found:
            return None
        names = [p.name for p in OPERATORS[operator].parameters(dtype) if p.name in found[0]]
        return {name: float(np.exp(np.median([np.log(one[name]) for one in found]))) for name in names}


TINY, HUGE = 1e-15, 1e15
"""Bounds of a parameter: nothing in a form is zero or without end."""
_OPENED: WeakKeyDictionary[Catalog, KernelLibrary] = WeakKeyDictionary()


def library_of(catalog: Catalog) -> KernelLibrary:
    """Return the fitted kernels of all devices of a catalog.

    Raises
    ------
    InputError
        A file names a kernel that no form knows, or lacks a parameter of its form.
    """
    if catalog not in _OPENED:
        for where, one in catalog.fit_files:
            _check(one, where)
        fits = catalog.kernels()
        by_gpu = {one.gpu: one.kernels for one in fits}
        _OPENED[catalog] = KernelLibrary(by_gpu, {one.gpu: catalog.gpu(one.gpu).architecture for one in fits})
    return _OPENED[catalog]


def _check(fits: KernelFits, where: str) -> None:
    """Refuse kernels that their forms cannot time."""
    for kernel in fits.kernels:
        here = f"{where}: {kernel.operator} {kernel.dtype} ({kernel.kernel})"
        operator = OPERATORS.get(kernel.operator)
        if operator is None or kernel.dtype not in operator.formats:
            known = " or ".join(operator.formats if operator else OPERATORS)
            raise InputError(f"{here}: no form times it; want {known}")
        wanted = [p.name for p in operator.parameters(kernel.dtype)]
        for name in wanted:
            if name not in kernel.parameters:
                raise InputError(f"{here}: parameters: has no {name}; fit its rows anew with llmplan calibrate fit")
            value = kernel.parameters[name]
            most = 1.0 if name.endswith("_efficiency") else HUGE
            if not TINY <= value <= most:
                raise InputError(f"{here}: parameters: {name} is {value:g}; want {TINY:g} to {most:g}")
        strange = sorted(set(kernel.parameters) - set(wanted))
        if strange:
            raise InputError(f"{here}: parameters: no form has a {strange[0]}; want {', '.join(wanted)}")


FALLBACKS: Mapping[str, tuple[str, ...]] = {"fp8": ("fp8_block",), "fp8_block": ("fp8",)}
"""Formats whose rows stand in for those of another, before 16 bit does."""


def kernels_on(gpu: Gpu, engine: Engine, library: KernelLibrary) -> KernelOf:
    """Return the kernels that an engine runs on a device; of an operator nobody measured, where its fits start."""
    chosen = engine.kernels.get(gpu.architecture, {})

    @cache
    def kernel(operator: str, dtype: str) -> Kernel:
        choice = chosen.get(f"{operator}.{dtype}")
        name = choice.kernel if choice else ""
        first = (choice.dtype if choice else None) or dtype
        for tried in (first, dtype, *FALLBACKS.get(dtype, ()), "bfloat16", "float16"):
            found = library.find(gpu, operator, tried, name)
            if found is not None:
                return Kernel(
                    name=found.kernel, dtype=tried, parameters=found.parameters, basis=found.basis,
                    architecture=found.architecture,
                )  # fmt: skip
        start = {p.name: p.start for p in OPERATORS[operator].parameters(dtype)}
        return Kernel(name="", dtype=dtype, parameters=start, basis="datasheet")

    return kernel
