"""Fitted kernels as files of the catalog: one line for each part of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmplan.freshness import today
from llmplan.spec.kernels import KernelFit

WIDE = 10_000


def kernel_files(found: Mapping[str, Sequence[KernelFit]], source: str) -> dict[str, str]:
    """Return the text of `hardware/kernels/<gpu>.yaml` for each device."""
    return {f"hardware/kernels/{gpu}.yaml": _file(gpu, kernels, source) for gpu, kernels in sorted(found.items())}


def _file(gpu: str, kernels: Sequence[KernelFit], source: str) -> str:
    lines = [f"gpu: {gpu}", f"source: {_inline(source)}", f"fitted: {today()}", "kernels:"]
    for one in sorted(kernels, key=lambda k: (k.operator, k.dtype, k.kernel, k.library)):
        plain = one.model_dump(mode="json")
        lines += [
            f"  - operator: {_inline(plain['operator'])}",
            *(f"    {name}: {_inline(plain[name])}" for name in ("dtype", "kernel", "library")),
            f"    parameters: {_inline(plain['parameters'])}",
            f"    evidence: {_inline(plain['evidence'])}",
        ]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    """Return a value in one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=WIDE, allow_unicode=True)
    return text.strip().removesuffix("...").strip()
