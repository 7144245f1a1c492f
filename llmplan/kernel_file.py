"""Fitted kernels as files of the catalog: one line for each part of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmplan.freshness import today
from llmplan.model_file import in_one_line
from llmplan.spec.kernels import KernelFit


def kernel_files(found: Mapping[str, Sequence[KernelFit]], source: str) -> dict[str, str]:
    """Return the text of `hardware/fits/<gpu>.yaml` for each device."""
    return {f"hardware/fits/{gpu}.yaml": _file(gpu, kernels, source) for gpu, kernels in sorted(found.items())}


def _file(gpu: str, kernels: Sequence[KernelFit], source: str) -> str:
    lines = [f"gpu: {gpu}", f"source: {in_one_line(source)}", f"fitted: {today()}", "kernels:"]
    for one in sorted(kernels, key=lambda k: (k.operator, k.dtype, k.kernel, k.library)):
        plain = one.model_dump(mode="json")
        lines += [
            f"  - operator: {in_one_line(plain['operator'])}",
            *(f"    {name}: {in_one_line(plain[name])}" for name in ("dtype", "kernel", "library")),
            f"    parameters: {in_one_line(plain['parameters'])}",
            f"    evidence: {in_one_line(plain['evidence'])}",
        ]
    return "\n".join(lines) + "\n"
