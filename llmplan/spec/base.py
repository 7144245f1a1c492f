"""What every noun shares: frozen, no unknown fields, names that promise their units, errors in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

from llmplan import units

SUFFIX_UNITS: tuple[tuple[str, str], ...] = (
    ("flop_per_s", "FLOP/s"),
    ("_bytes_per_s", "B/s"),
    ("requests_per_s", "requests/s"),
    ("tokens_per_s", "tokens/s"),
    ("usd_per_hour", "USD/h"),
    ("usd_per_kwh", "USD/kWh"),
    ("_usd", "USD"),
    ("gco2e_per_kwh", "gCO2e/kWh"),
    ("_bytes", "B"),
    ("_hz", "Hz"),
    ("_w", "W"),
    ("_j", "J"),
    ("_s", "s"),
)
"""The unit that the end of a name promises, most specific first."""


@dataclass(frozen=True, slots=True)
class InUnit:
    """Marks a float that people write as text and llmplan as a number, both in `unit`."""

    unit: str
    example: str

    def read(self, value: object, info: ValidationInfo) -> float:
        """Return `value` in the base unit; text from people, plain numbers from files that llmplan wrote."""
        if isinstance(value, str):
            return units.parse(value, self.unit)
        context = info.context if isinstance(info.context, Mapping) else {}
        if context.get("base_units") and type(value) in (int, float):
            number = float(value)  # type: ignore[arg-type]
            if not 0 <= number < float("inf"):
                raise ValueError(f"{value!r} is not a quantity in {self.unit}")
            return number
        raise ValueError(f"{value!r} has no unit; write it as {self.example!r}")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.simple_ser_schema("float")
        return core_schema.with_info_plain_validator_function(self.read, serialization=number)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        if handler.mode == "serialization":
            return {"type": "number", "x-unit": self.unit}
        return {"type": "string", "x-unit": self.unit, "examples": [self.example]}


Bytes = Annotated[float, InUnit("B", example="80 GiB")]
BytesPerS = Annotated[float, InUnit("B/s", example="3.35 TB/s")]
FlopPerS = Annotated[float, InUnit("FLOP/s", example="989 TFLOP/s")]
Seconds = Annotated[float, InUnit("s", example="50 us")]
Hertz = Annotated[float, InUnit("Hz", example="1.98 GHz")]
Watts = Annotated[float, InUnit("W", example="700 W")]
Usd = Annotated[float, InUnit("USD", example="280000 USD")]
UsdPerKwh = Annotated[float, InUnit("USD/kWh", example="0.14 USD/kWh")]
UsdPerHour = Annotated[float, InUnit("USD/h", example="6.98 USD/h")]
RequestsPerS = Annotated[float, InUnit("requests/s", example="24 requests/s")]

T = TypeVar("T")
Set = Annotated[frozenset[T], PlainSerializer(lambda names: sorted(names), return_type=list[str])]
"""Names whose order does not matter; written sorted, so that the same answer has the same bytes."""


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no count; want an integer of 1 or more")
    return value


Count = Annotated[int, BeforeValidator(_no_truth, json_schema_input_type=int), Field(ge=1)]
"""How many of something there are: 1 or more."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share between 0 and 1."""


class Spec(BaseModel):
    """A noun read from a file: frozen, and strict about names and units."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        serialize_by_alias=False,
        allow_inf_nan=False,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            found = _units_in(field.annotation, field.metadata)
            promised = promised_unit(name)
            if found and promised is None:
                raise TypeError(f"{cls.__name__}.{name} is in {found}, which its name does not say")
            if promised and found and found != {promised}:
                raise TypeError(f"{cls.__name__}.{name} promises {promised}, its type says {found}")


def promised_unit(name: str) -> str | None:
    """Return the base unit that the end of `name` promises, or None for a bare number."""
    for suffix, unit in SUFFIX_UNITS:
        if name.endswith(suffix) or name == suffix.lstrip("_"):
            return unit
    return None


def _units_in(annotation: Any, metadata: Any) -> set[str]:
    """Collect the units of every `InUnit` in a type, however deep."""
    found = {mark.unit for mark in metadata if isinstance(mark, InUnit)}
    found |= {mark.unit for mark in _tuple(annotation, "__metadata__") if isinstance(mark, InUnit)}
    for inner in _tuple(annotation, "__args__"):
        if not isinstance(inner, type) or _tuple(inner, "__args__"):
            found |= _units_in(inner, ())
    return found


def _tuple(thing: Any, name: str) -> tuple[Any, ...]:
    found = getattr(thing, name, None)
    return found if isinstance(found, tuple) else ()


class Source(Spec):
    """Where a value was seen, and how much the page can be trusted."""

    tag: str
    """The page, package or file, with its version or date."""
    confidence: str = Field(pattern="^(datasheet|measured|secondary|derived|memory|preliminary)$")
    """datasheet | measured | secondary | derived | memory | preliminary."""


def _shared(sources: object) -> object:
    """Read each distinct source once: the files of a kind name the same few thousands of times."""
    if not isinstance(sources, dict):
        return sources
    return {field: _source(**raw) if _is_source(raw) else raw for field, raw in sources.items()}


def _is_source(raw: object) -> bool:
    return (
        isinstance(raw, dict)
        and raw.keys() == {"tag", "confidence"}
        and isinstance(raw["tag"], str)
        and raw["confidence"] in ("datasheet", "measured", "secondary", "derived", "memory", "preliminary")
    )


@lru_cache(maxsize=1024)
def _source(tag: str, confidence: str) -> Source:
    return Source(tag=tag, confidence=confidence)


Sources = Annotated[Mapping[str, Source], BeforeValidator(_shared)]
"""Where each value of an entry was seen, by field."""


NAME_PATTERN = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*\Z")


def folded(name: str) -> str:
    """Return `name` as names are compared: without case, hyphens, underscores and spaces."""
    return "".join(name.split()).replace("-", "").replace("_", "").casefold()
