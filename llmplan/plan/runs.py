"""Can this engine run that model on this device, in these formats, cut this way? If not, why.

The answer is looked up in the engine's own table (`Engine.models`, `Engine.support`); nothing is guessed: a family or
an architecture that the table lacks is not run.
"""

from __future__ import annotations

from llmplan.spec.deployment import Layout
from llmplan.spec.engine import Engine, Feature
from llmplan.spec.model import KvDtype, Model, WeightDtype

CUTS: tuple[tuple[str, Feature, str], ...] = (
    ("tp", "tp", "tensor parallel"),
    ("pp", "pp", "pipeline parallel"),
    ("ep", "ep", "expert parallel"),
    ("dp", "attention_dp", "attention data parallel"),
    ("cp", "cp", "context parallel"),
)
"""Widths of a layout, the feature each needs, and what it is called."""


def runs(
    engine: Engine, model: Model, architecture: str, weight_dtype: WeightDtype, kv_dtype: KvDtype, layout: Layout
) -> bool:
    """Return whether an engine runs a model in these formats and this cut on devices of an architecture."""
    return not (
        why_not_model(engine, model)
        or why_not_formats(engine, model, architecture, weight_dtype, kv_dtype)
        or why_not_layout(engine, model, layout)
    )


def why_not_model(engine: Engine, model: Model) -> str:
    """Return why an engine runs no model of this family, or an empty text."""
    if model.family in engine.models:
        return ""
    return f"{_said(engine)} does not run {model.family} models"


def why_not_formats(
    engine: Engine, model: Model, architecture: str, weight_dtype: WeightDtype, kv_dtype: KvDtype
) -> str:
    """Return why a model that the engine runs does not run so on devices of an architecture, or an empty text."""
    device, family = engine.support.get(architecture), model.family
    if device is None:
        return f"{_said(engine)} does not run on {architecture}"
    if architecture not in engine.architectures_of(family):
        return f"{_said(engine)} does not run {family} models on {architecture}"
    if weight_dtype not in device.weight_dtypes:
        return f"{_said(engine)} does not run {weight_dtype} weights on {architecture}"
    if kv_dtype not in device.kv_dtypes:
        return f"{_said(engine)} does not run {weight_dtype} weights with {kv_dtype} KV on {architecture}"
    inside = _formats_inside(model, weight_dtype)
    for other in sorted(inside - device.weight_dtypes):
        return f"{_said(engine)} does not run the {other} weights inside {model.name} on {architecture}"
    if "fp8" in inside and model.weights.scale_block is not None and not device.block_scaled_fp8:
        return f"{_said(engine)} does not run fp8 weights with block scales on {architecture}"
    for own in engine.models[family].formats(architecture):
        if own.weight_dtypes is not None and weight_dtype not in own.weight_dtypes:
            return f"{_said(engine)} does not run {family} models with {weight_dtype} weights on {architecture}"
        if own.kv_dtypes is not None and kv_dtype not in own.kv_dtypes:
            return f"{_said(engine)} does not run {family} models with {kv_dtype} KV on {architecture}"
    return ""


def _formats_inside(model: Model, weight_dtype: WeightDtype) -> set[WeightDtype]:
    """Return the formats of all weights where the checkpoint is run as it is; an engine that quantizes makes one."""
    if weight_dtype != model.weights.dtype:
        return {weight_dtype}
    return {weight_dtype, *(dtype for shares in model.weights.mixed.values() for dtype in shares)}


def why_not_layout(engine: Engine, model: Model, layout: Layout) -> str:
    """Return why a model that the engine runs cannot be cut this way, or an empty text."""
    for width, feature, name in CUTS:
        if getattr(layout, width) > 1 and not engine.has(model.family, feature):
            return f"{_said(engine)} does not run {model.family} models {name} ({width} {getattr(layout, width)})"
    return ""


def newer_version(engine: Engine, model: Model, architecture: str) -> str:
    """Return which newer version runs a model on devices of an architecture, or an empty text."""
    found = []
    family, device = engine.models.get(model.family), engine.support.get(architecture)
    if family is not None and family.since:
        found.append(f"{model.family} models need {engine.title} {family.since} or newer")
    if device is not None and device.since:
        found.append(f"{architecture} needs {engine.title} {device.since} or newer")
    return " and ".join(found)


def _said(engine: Engine) -> str:
    return f"{engine.title} {engine.version}"
