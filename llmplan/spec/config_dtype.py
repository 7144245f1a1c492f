"""The `torch_dtype` of a `config.json`: known, or an error; what engines narrow is warned of."""

from __future__ import annotations

from llmplan.spec.config_fields import Fields, shown

KEYS = ("torch_dtype", "dtype")
SIXTEEN = ("bfloat16", "float16", "half", "bf16", "fp16", "auto")
WIDE = ("float32", "float", "fp32", "float64", "double")
"""Weights that engines narrow to 16 bit when they load them."""


def dtype_warnings(outer: Fields, text: Fields) -> list[str]:
    """Return a line for a dtype that is not served as it is stored.

    Raises
    ------
    InputError
        The dtype is none that llmplan knows.
    """
    for fields in (text, outer):
        key = fields.get(*KEYS)[0]
        told = fields.text(*KEYS)
        if told is None:
            continue
        name = told.removeprefix("torch.")
        if name in WIDE:
            return [f"{fields.where}: {fields.prefix}{key}: {name} is planned as bf16, as engines serve it"]
        packed = name.startswith("float8_") and (outer.values, text.values)
        if name not in SIXTEEN and not (packed and any(v.get("quantization_config") for v in packed)):
            raise fields.error(key, f"unknown dtype {shown(told)}", "llmplan reads bfloat16, float16 and float32")
        return []
    return []
