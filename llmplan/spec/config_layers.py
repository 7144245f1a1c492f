"""The layers that a `config.json` describes: for each its attention or state, and its feed-forward block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from llmplan.errors import InputError
from llmplan.spec import config_ffns, config_heads, config_latents, config_states
from llmplan.spec.config_family import Family
from llmplan.spec.config_fields import NO_GUESS, Fields
from llmplan.spec.config_places import layer_count
from llmplan.spec.model import Ffn, Gqa, LayerRun, Mixer, Moe, Repeated

MIXERS = config_heads.READERS | config_latents.READERS | config_states.READERS
B = TypeVar("B")

MOST_PERIOD = 12
"""Runs in the longest pattern that is looked for."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The blocks of a model, and for each layer the names of its two."""

    attention: Mapping[str, Mixer]
    ffn: Mapping[str, Ffn | Moe]
    layers: Sequence[tuple[str | None, str | None]]

    @classmethod
    def read(cls, text: Fields, family: Family) -> Stack:
        """Return the blocks that `text` describes, in an architecture of `family`."""
        count = layer_count(text)
        mixers = MIXERS[family.mixers](text, family, count)
        ffns = config_ffns.READERS[family.ffns](text, family, count)
        layers = [pair for pair in zip(mixers, ffns, strict=True) if pair != (None, None)]
        if not layers:
            raise InputError(f"{text.where}: unknown block kind 'layers without a block'; {NO_GUESS}")
        attention = _named([m for m, _ in layers if m is not None], _mixer_name)
        ffn = _named([f for _, f in layers if f is not None], _ffn_name)
        return cls(
            {name: block for block, name in attention},
            {name: block for block, name in ffn},
            [(_name_of(m, attention), _name_of(f, ffn)) for m, f in layers],
        )

    def runs(self) -> tuple[LayerRun | Repeated, ...]:
        """Return the layers as runs of equal ones, and runs that repeat as one entry."""
        runs = [
            LayerRun(count=len(list(equal)), attention=attention, ffn=ffn)
            for (attention, ffn), equal in groupby(self.layers)
        ]
        return tuple(_folded(runs))


def _folded(runs: Sequence[LayerRun]) -> Iterator[LayerRun | Repeated]:
    """Yield runs, each stretch that repeats as its period and how often, the longest stretch first at each place."""
    at = 0
    while at < len(runs):
        best = max(
            ((period, _repeats(runs, at, period)) for period in range(1, MOST_PERIOD + 1)),
            key=lambda found: (found[0] * (found[1] - 1), -found[0]),
        )
        period, times = best
        if times > 1:
            yield Repeated(repeat=times, layers=tuple(runs[at : at + period]))
        else:
            period, times = 1, 1
            yield runs[at]
        at += period * times


def _repeats(runs: Sequence[LayerRun], at: int, period: int) -> int:
    """Return how often the `period` runs from `at` on come in a row."""
    first, times = runs[at : at + period], 1
    while len(first) == period and runs[at + times * period : at + (times + 1) * period] == first:
        times += 1
    return times


def _named(blocks: Sequence[B], base_name: Callable[[B], str]) -> list[tuple[B, str]]:
    """Return the distinct blocks in their order, each with a name of its own."""
    found: list[tuple[B, str]] = []
    used: dict[str, int] = {}
    for block in blocks:
        if _name_of(block, found) is None:
            base = base_name(block)
            used[base] = used.get(base, 0) + 1
            found.append((block, base if used[base] == 1 else f"{base}_{used[base]}"))
    return found


def _name_of(block: B | None, named: Sequence[tuple[B, str]]) -> str | None:
    return next((name for known, name in named if known == block), None)


def _mixer_name(mixer: Mixer) -> str:
    if isinstance(mixer, Gqa):
        return "window" if mixer.window else "sparse" if mixer.sparse_tokens else "full"
    return mixer.kind


def _ffn_name(ffn: Ffn | Moe) -> str:
    return "moe" if isinstance(ffn, Moe) else "dense"
