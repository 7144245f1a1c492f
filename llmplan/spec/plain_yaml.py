"""The plain part of YAML that shipped files are written in, read several times as fast as YAML itself.

A plain file is lines of `key: value`, nested by two spaces a level; a value is a scalar, a `[list]` or a `{mapping}` of
scalars on one line, or text folded under `>-`. Whatever else stands in a file makes `read_plain` give up, and the file
is read as YAML. What it does read means the same in YAML; a test compares the two over every shipped file.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

# No possessive groups: before Python 3.11.5 they lose what they matched.
_QUOTED = r'"[^"\\]*"'
_BARE = r"[A-Za-z0-9.+~-](?:[^\[\]{},:#\\]|:(?=[^\s,\[\]{}])|(?<!\s)#)*"
_LONG = r"[A-Za-z0-9.+~-](?:[^:#\\]|:(?=[^\s,\[\]{}])|(?<!\s)#)*"
_ITEM = re.compile(rf"\s*(?:(?P<quoted>{_QUOTED})|(?P<bare>{_BARE}))\s*(?:,|\Z)")
_PAIR = re.compile(rf"\s*(?P<key>[\w.-]++): (?:(?P<quoted>{_QUOTED})|(?P<bare>{_BARE}))\s*(?:,|\Z)")
_LINE = re.compile(
    rf"(?P<indent> *+)(?P<key>[\w./-]++):"
    rf"(?: (?:(?P<fold>>-)|\[(?P<list>[^\[\]]*+)\]|\{{(?P<map>[^{{}}]*+)\}}|(?P<quoted>{_QUOTED})|(?P<bare>{_LONG})))?"
    r"(?:(?<= )#.*|\s+#.*)?\Z"
)
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z")
_WORDS = {"null": None, "true": True, "false": False}
_OTHER_WORDS = frozenset({"~", "Null", "NULL", "True", "False", "-"})
"""Scalars that are no text in YAML, and not read here."""

_BLOCK, _FOLD = object(), object()
"""Values of lines whose value stands on the lines below."""


class _NotPlainError(Exception):
    """The text is YAML that is not read here."""


def read_plain(text: str) -> dict[str, Any] | None:
    """Return what a plain text says, or None when it is not plain.

    Equal lines share their value: whoever changes it changes all of them.
    """
    try:
        return _mapping(text.split("\n"))
    except _NotPlainError:
        return None


def _mapping(lines: list[str]) -> dict[str, Any]:
    """Read all lines; `open_at` holds the mapping that is open at each depth."""
    open_at: list[dict[str, Any]] = [{}]
    pending = ""  # key whose mapping is to come
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if not line or line.lstrip().startswith("#"):
            continue
        depth, key, value = _line(line)
        if pending:
            if depth != len(open_at):
                raise _NotPlainError
            open_at.append({})
            open_at[-2][pending] = open_at[-1]
            pending = ""
        elif depth >= len(open_at):
            raise _NotPlainError
        del open_at[depth + 1 :]
        target = open_at[depth]
        if key in target:
            raise _NotPlainError
        if value is _FOLD:
            value, i = _folded(lines, i, "  " * (depth + 1))
        elif value is _BLOCK:
            pending = key
        target[key] = value
    if pending or not open_at[0]:
        raise _NotPlainError
    return open_at[0]


@lru_cache(maxsize=4096)
def _line(text: str) -> tuple[int, str, Any]:
    """Return depth, key and value of a line; files of a kind repeat most of their lines."""
    match = _LINE.match(text)
    if match is None:
        raise _NotPlainError
    depth, odd = divmod(len(match["indent"]), 2)
    key = match["key"]
    if odd or not isinstance(_meaning(key), str):
        raise _NotPlainError
    if match["fold"]:
        return depth, key, _FOLD
    if match["list"] is not None:
        return depth, key, [_scalar(found) for found in _items(_ITEM, match["list"])]
    if match["map"] is not None:
        pairs = _items(_PAIR, match["map"])
        built = {found["key"]: _scalar(found) for found in pairs}
        if len(built) < len(pairs) or not all(isinstance(_meaning(name), str) for name in built):
            raise _NotPlainError
        return depth, key, built
    if match["quoted"] is None and match["bare"] is None:
        return depth, key, _BLOCK
    return depth, key, _scalar(match)


def _items(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    found, at = [], 0
    while at < len(text):
        match = pattern.match(text, at)
        if match is None:
            raise _NotPlainError
        found.append(match)
        at = match.end()
    return found


def _scalar(match: re.Match[str]) -> Any:
    if match["quoted"] is not None:
        return match["quoted"][1:-1]
    return _meaning(match["bare"].rstrip())


def _meaning(bare: str) -> Any:
    if bare in _WORDS:
        return _WORDS[bare]
    if _NUMBER.match(bare):
        return int(bare)
    if _DECIMAL.match(bare):
        return float(bare)
    if bare in _OTHER_WORDS or bare.startswith(("- ", "---", "...")):
        raise _NotPlainError
    return bare


def _folded(lines: list[str], i: int, margin: str) -> tuple[str, int]:
    """Read the lines under `>-`, all of one depth, as one line."""
    parts = []
    while i < len(lines) and (lines[i].startswith(margin) or not lines[i]):
        parts.append(lines[i][len(margin) :])
        i += 1
    while parts and not parts[-1]:
        parts.pop()
    if any(not part or part != part.strip() for part in parts):
        raise _NotPlainError
    return " ".join(parts), i
