"""The kinds of files, the noun of each, and its JSON Schema."""

from __future__ import annotations

from typing import Any

from llmplan.spec.base import Spec
from llmplan.spec.deployment import Deployment
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Bands
from llmplan.spec.hardware import Gpu, Link, Node, PriceSheet
from llmplan.spec.kernels import KernelFits
from llmplan.spec.model import Model
from llmplan.spec.plan import Answer
from llmplan.spec.technique import Technique
from llmplan.spec.workload import Fleet, WorkloadFile

KINDS: dict[str, tuple[type[Spec], bool]] = {
    "bands": (Bands, False),
    "deployment": (Deployment, True),
    "engine": (Engine, False),
    "fits": (KernelFits, False),
    "fleet": (Fleet, False),
    "gpu": (Gpu, False),
    "link": (Link, False),
    "model": (Model, False),
    "node": (Node, False),
    "plan": (Answer, True),
    "prices": (PriceSheet, False),
    "technique": (Technique, False),
    "workload": (WorkloadFile, False),
}
"""Noun, and whether llmplan writes it (plain numbers in base units) or people do (text with units)."""


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file (draft 2020-12)."""
    noun, written = KINDS[kind]
    found = noun.model_json_schema(mode="serialization" if written else "validation", by_alias=not written)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"llmplan {kind}", **found}
