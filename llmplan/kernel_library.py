"""Which parameters predict a kernel on a device, and what that rests on.

Of a device with fits: those of this very kernel (`calibrated`), else of the kernel of the same operator and format
with most rows (`transferred`). Of a device without: those of one of its architecture (`transferred`), else typical
ones, the median of each parameter over all devices (`datasheet`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Gpu
from llmplan.spec.kernels import KernelFit


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Parameters and what they rest on."""

    parameters: Mapping[str, float]
    basis: Basis


class KernelLibrary:
    """All fitted kernels, by device."""

    def __init__(self, by_gpu: Mapping[str, Sequence[KernelFit]], architecture_of: Mapping[str, str]) -> None:
        """Take the fitted kernels of each device, and its architecture."""
        self._by_gpu = by_gpu
        self._architecture = architecture_of

    def without(self, gpu: Gpu, family: bool = False) -> KernelLibrary:
        """Return the library as if a device (or all of its architecture) had never been measured."""
        kin = {one for one, architecture in self._architecture.items() if family and architecture == gpu.architecture}
        hidden = {gpu.name, *kin}
        kept = {one: kernels for one, kernels in self._by_gpu.items() if one not in hidden}
        return KernelLibrary(kept, self._architecture)

    def find(self, gpu: Gpu, operator: str, dtype: str, kernel: str) -> Found | None:
        """Return the parameters for a kernel; None where nobody measured its operator in any format."""
        own = self._best(self._by_gpu.get(gpu.name, ()), operator, dtype, kernel)
        if own is not None:
            return Found(parameters=own.parameters, basis="calibrated" if own.kernel == kernel else "transferred")
        for other, kernels in sorted(self._by_gpu.items()):
            if self._architecture.get(other) == gpu.architecture:
                kin = self._best(kernels, operator, dtype, kernel)
                if kin is not None:
                    return Found(parameters=kin.parameters, basis="transferred")
        typical = self._typical(operator, dtype, kernel)
        return None if typical is None else Found(parameters=typical, basis="datasheet")

    @staticmethod
    def _best(kernels: Iterable[KernelFit], operator: str, dtype: str, kernel: str) -> KernelFit | None:
        alike = [one for one in kernels if (one.operator, one.dtype) == (operator, dtype)]
        return max(alike, key=lambda one: (one.kernel == kernel, one.evidence.rows), default=None)

    def _typical(self, operator: str, dtype: str, kernel: str) -> dict[str, float] | None:
        """Return the median of each parameter over devices, each with its kernel of most rows."""
        best = [self._best(kernels, operator, dtype, kernel) for _, kernels in sorted(self._by_gpu.items())]
        found = [one.parameters for one in best if one is not None]
        if not found:
            return None
        return {name: float(np.exp(np.median([np.log(one[name]) for one in found]))) for name in found[0]}
