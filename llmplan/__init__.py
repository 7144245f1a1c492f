"""Performance modeling and capacity planning for LLM serving.

The public names; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from llmplan.version import __version__

_PUBLIC = {
    "Answer": "llmplan.spec.plan",
    "Catalog": "llmplan.spec.catalog",
    "Fleet": "llmplan.spec.workload",
    "LlmplanError": "llmplan.errors",
    "Options": "llmplan.settle",
    "estimate_plan": "llmplan.estimate",
    "estimate_workload": "llmplan.estimate",
    "read_question": "llmplan.spec.readers",
    "recommend_plan": "llmplan.recommend",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    """Return a public name, importing its module."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'llmplan' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
