"""The fields of a parsed `config.json`, each read with its kind checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmplan.errors import InputError

MOST = 10**9
"""No count in a real file is larger: more is a slip."""
NO_GUESS = "llmplan will not guess a dense model"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one JSON object; a wrong value is an error that names the field."""

    values: Mapping[str, Any]
    where: str
    prefix: str = ""
    defaults: Mapping[str, int] = field(default_factory=dict)

    def error(self, key: str, wrong: str, right: str) -> InputError:
        """Return the complaint about `key`: what is wrong, what would be right."""
        return InputError(f"{self.where}: {self.prefix}{key}: {wrong}; {right}")

    def get(self, *keys: str) -> tuple[str, Any]:
        """Return the first of `keys` that is set, with its value; else the first key and None."""
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        return keys[0], None

    def count(self, *keys: str, missing: int | None = None, most: int = MOST) -> int:
        """Return a number that is 1 or more."""
        key, value = self.get(*keys)
        fallback = next((self.defaults[k] for k in keys if k in self.defaults), missing)
        if value is None and fallback is not None:
            return fallback
        if value is None:
            raise self.error(key, "missing", "give a whole number, 1 or more")
        if type(value) is not int or not 1 <= value <= most:
            raise self.error(key, f"{shown(value)} is no count", f"give a whole number from 1 to {most}")
        return value

    def whole(self, *keys: str, most: int = MOST) -> int:
        """Return a number that is 0 or more; missing is 0, or what the architecture says."""
        key, value = self.get(*keys)
        if value is None:
            return next((self.defaults[k] for k in keys if k in self.defaults), 0)
        if type(value) is not int or not 0 <= value <= most:
            raise self.error(key, f"{shown(value)} is no count", f"give a whole number from 0 to {most}")
        return value

    def flag(self, *keys: str, missing: bool = False) -> bool:
        """Return true or false; a key that is not there counts as `missing`."""
        key, value = self.get(*keys)
        if value is None:
            return missing
        if type(value) is not bool:
            raise self.error(key, f"{shown(value)} is neither true nor false", "give true or false")
        return value

    def text(self, *keys: str) -> str | None:
        """Return a text, or None where there is none."""
        key, value = self.get(*keys)
        if value is not None and not isinstance(value, str):
            raise self.error(key, f"{shown(value)} is no text", "give a name in quotes")
        return value

    def texts(self, *keys: str) -> list[str]:
        """Return a list of texts; missing is an empty one."""
        key, value = self.get(*keys)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"{shown(value)} is no list of names", "give a list of texts")
        return value

    def each_layer(self, key: str, layers: int) -> list[Any] | None:
        """Return a list with one item for each layer, or None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, list) and len(value) == layers + self.whole("num_nextn_predict_layers"):
            return value[:layers]  # those of the MTP layers follow
        if not isinstance(value, list) or len(value) != layers:
            has = f"{len(value)} items" if isinstance(value, list) else shown(value)
            raise self.error(key, f"{has} for {layers} layers", "give a list with one item for each layer")
        return value

    def within(self, key: str) -> Fields:
        """Return the object under `key`."""
        inner = as_object(self.values[key], f"{self.where}: {self.prefix}{key}", "its content")
        return Fields(inner, self.where, f"{self.prefix}{key}.")


def as_object(value: object, where: str, what: str) -> Mapping[str, Any]:
    """Return `value` when it is a JSON object; anything else is an error."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: {what} is {shown(value)}; give a JSON object")
    return value


def shown(value: object) -> str:
    """Return `value` on one line, cut to a readable length."""
    if isinstance(value, list | tuple | Mapping):
        return f"a {'JSON object' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    text = repr(value) if type(value) is not int or abs(value) < MOST**2 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
