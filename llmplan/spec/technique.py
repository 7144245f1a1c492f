"""A published technique as data: a patch to Deployment, Policy or Workload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from llmplan.spec.base import Spec


class Technique(Spec):
    """How a published system sets the knobs."""

    name: str
    aliases: tuple[str, ...] = ()
    title: str
    paper: str
    """Where it was published."""
    quality: Literal["lossless", "lossy", "changes_model"]
    deployment: Mapping[str, Any] = {}
    policy: Mapping[str, Any] = {}
    workload: Mapping[str, Any] = {}
