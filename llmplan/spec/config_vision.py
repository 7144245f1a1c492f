"""How large a vision tower is: loaded beside the language model, idle for text."""

from __future__ import annotations

from llmplan.spec.config_fields import Fields

DEPTH = ("depth", "num_hidden_layers", "vt_num_hidden_layers")
WIDTH = ("hidden_size", "vt_hidden_size")
INNER = ("intermediate_size", "vt_intermediate_size")
MERGE = ("spatial_merge_size", "merge_kernel_size")
COLORS = 3
NAMED_TOWERS = {"openai/clip-vit-large-patch14-336": 303_507_456}
"""Parameters of towers that a file only names (Phi-3 vision)."""


def counted_tower(outer: Fields) -> str | None:
    """Return the key of the tower whose weights are counted, or None."""
    if outer.values.get("vision_config"):
        return "vision_config"
    named = outer.values.get("img_processor")
    return "img_processor" if isinstance(named, dict) and named.get("model_name") in NAMED_TOWERS else None


def vision_parameters(outer: Fields, text_hidden_size: int) -> int:
    """Return the parameters of the vision tower and its projector, to a few percent; 0 without one.

    A plain transformer of depth L, width v and inner width f over patches of p x p pixels, t frames together, whose
    outputs are merged m x m and projected to the hidden size h of the language model::

        L·(4·v² + 2·v·f + 9·v) + 3·p²·t·v + (m²·v)² + m²·v·h

    Gated or windowed towers, class tokens and tables of positions differ by some percent. Llama 4, MiniMax-M3 and
    Phi-3 vision have projectors of their own.
    """
    key = counted_tower(outer)
    if key is None:
        return 0
    if key == "img_processor":
        return _named(outer.within(key), text_hidden_size)
    vision = outer.within("vision_config")
    if vision.get(*DEPTH)[1] is None or vision.get(*WIDTH)[1] is None:
        return 0
    depth, v = vision.count(*DEPTH, most=1_000), vision.count(*WIDTH)
    inner = vision.count(*INNER, missing=4 * v)
    patch, frames = vision.count("patch_size", missing=16), vision.count("temporal_patch_size", missing=1)
    layers = depth * (4 * v * v + 2 * v * inner + 9 * v)
    pixels = COLORS * patch**2 * v
    if vision.values.get("projector_input_dim") is not None:
        return layers + pixels + _shuffled(vision, inner, text_hidden_size)
    if outer.values.get("projector_hidden_size") is not None:
        return layers + pixels * frames + _merged_late(outer, v, text_hidden_size)
    merged = v * _merge(vision) ** 2
    return layers + pixels * frames + merged * merged + merged * text_hidden_size


def _named(tower: Fields, text_hidden_size: int) -> int:
    """Return a named tower with a projector of two layers over 2 x 2 outputs (Phi-3 vision)."""
    h, merged = text_hidden_size, 4 * tower.count("image_dim_out", missing=1024)
    return NAMED_TOWERS[str(tower.text("model_name"))] + merged * h + h * h + 2 * h + 2 * merged


def _shuffled(vision: Fields, inner: int, text_hidden_size: int) -> int:
    """Return the projector of Llama 4: two layers over shuffled pixels, one to the language model."""
    wide, out = vision.count("projector_input_dim"), vision.count("projector_output_dim", "projector_input_dim")
    return inner * wide + wide * out + out * text_hidden_size


def _merged_late(outer: Fields, v: int, text_hidden_size: int) -> int:
    """Return the projector of MiniMax-M3: two layers for each patch, two for each 2 x 2 merged ones."""
    wide, h, merged = outer.count("projector_hidden_size"), text_hidden_size, 1
    if outer.values.get("img_token_compression_config") is not None:
        merged = _merge(outer.within("img_token_compression_config")) ** 2
    return v * wide + wide * h + merged * h * wide + wide * h


def _merge(vision: Fields) -> int:
    key, value = vision.get(*MERGE)
    if isinstance(value, list) and value and all(type(side) is int and 1 <= side <= 16 for side in value):
        return int(max(value))
    return 1 if value is None else vision.count(key, most=16)
