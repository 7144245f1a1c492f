"""How large a vision tower is: loaded beside the language model, idle for text."""

from __future__ import annotations

from llmplan.spec.config_fields import Fields

DEPTH = ("depth", "num_hidden_layers", "vt_num_hidden_layers")
WIDTH = ("hidden_size", "vt_hidden_size")
INNER = ("intermediate_size", "vt_intermediate_size")
MERGE = ("spatial_merge_size", "merge_kernel_size")
COLORS = 3


def vision_parameters(outer: Fields, text_hidden_size: int) -> int:
    """Return the parameters of the vision tower and its projector, to a few percent; 0 without one.

    A plain transformer of depth L, width v and inner width f over patches of p x p pixels, t frames together, whose
    outputs are merged m x m and projected to the hidden size h of the language model::

        L·(4·v² + 2·v·f + 9·v) + 3·p²·t·v + (m²·v)² + m²·v·h

    Gated or windowed towers, class tokens and tables of positions differ by some percent.
    """
    if not outer.values.get("vision_config"):
        return 0
    vision = outer.within("vision_config")
    if vision.get(*DEPTH)[1] is None or vision.get(*WIDTH)[1] is None:
        return 0
    depth, v = vision.count(*DEPTH, most=1_000), vision.count(*WIDTH)
    inner = vision.count(*INNER, missing=4 * v)
    patch, frames = vision.count("patch_size", missing=16), vision.count("temporal_patch_size", missing=1)
    layers = depth * (4 * v * v + 2 * v * inner + 9 * v)
    merged = v * _merge(vision) ** 2
    return layers + COLORS * patch**2 * frames * v + merged * merged + merged * text_hidden_size


def _merge(vision: Fields) -> int:
    key, value = vision.get(*MERGE)
    if isinstance(value, list) and value and all(type(side) is int and 1 <= side <= 16 for side in value):
        return int(max(value))
    return 1 if value is None else vision.count(key, most=16)
