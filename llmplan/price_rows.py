"""What a table of prices says, row by row: prices, changes of prices that are known, and rows that are passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from llmplan.errors import InputError, LlmplanError, UnknownNameError
from llmplan.spec.base import NAME_PATTERN, Source
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Gpu, Market, Node
from llmplan.spec.price_cells import Cells
from llmplan.spec.terms import Terms

ANYWHERE = "any"
"""Region of a price that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is said beside the table."""

    provider: str | None = None
    snapshot: date | None = None
    dated: bool = False
    """Whether a day was given, if only as unknown."""
    tag: str = "table"
    """Name of the table, as the source of its facts."""

    def day(self, cells: Cells) -> date | None:
        """Return the day of a price: that of its row, or that of the whole table.

        Raises
        ------
        InputError
            Neither is given.
        """
        found = cells.day("snapshot")
        if found is None and not self.dated:
            raise InputError(f"{cells.place}: has no day; give --snapshot 2026-01-31, or --snapshot unknown")
        return found or self.snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A price of a node."""

    cells: Cells
    provider: str
    node: Node
    region: str
    market: Market
    terms: Terms
    snapshot: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A discount on prices that are known, or a count of nodes beside them."""

    cells: Cells
    provider: str
    node: str
    """A name, or * for every node of the provider."""
    region: str | None
    market: Market
    discount: float | None
    term_s: float | None
    """The discount is for a commitment of this length."""
    available: int | None

    def over(self, wider: Change) -> Change:
        """Return this change, with what it leaves open as a wider one has it."""
        return replace(
            self,
            cells=wider.cells if self.discount is None else self.cells,
            discount=wider.discount if self.discount is None else self.discount,
            available=wider.available if self.available is None else self.available,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Everything a table says."""

    entries: tuple[Entry, ...] = ()
    changes: tuple[Change, ...] = ()
    skipped: Mapping[str, list[int]] = field(default_factory=dict)
    """Lines that were passed over, by reason."""
    defaults: tuple[str, ...] = ()


class SkippedError(LlmplanError):
    """Why a row of somebody else's table is passed over."""


def provider_of(cells: Cells, asked: Asked, column: str = "provider") -> str:
    """Return who rents a node out, as a name of ours."""
    name = cells.text(column) or asked.provider
    if not name:
        raise InputError(f"{cells.place}: provider: missing; give it in a column, or with --provider NAME")
    if not NAME_PATTERN.match(name):
        raise cells.wrong("provider", f"{name!r} is no name; write it as {slug(name) or 'my-provider'!r}")
    return name


def slug(text: str) -> str:
    """Return text as a name of the catalog: lower case, words joined by hyphens."""
    words = re.sub(r"[^a-z0-9.]+", "-", text.lower())
    return re.sub(r"[.-]*\.[.-]*|-+", lambda m: "." if "." in m[0] else "-", words).strip(".-")


@dataclass(slots=True)
class Nodes:
    """The nodes of a table: those of the catalog, and the new ones it describes."""

    catalog: Catalog
    tag: str
    new: dict[str, Node] = field(default_factory=dict)
    seen: dict[str, Node | None] = field(default_factory=dict)
    gpus: dict[tuple[str, tuple[str, ...], float], Gpu | str] = field(default_factory=dict)
    """GPUs that rows were found to mean, by name, sockets and memory; or why there is none."""

    def known(self, name: str) -> Node | None:
        """Return the node of the catalog, or of an earlier row, that a name means."""
        return self._listed(name) or self.new.get(slug(name))

    def taken(self, name: str) -> Node | None:
        """Return the node of the catalog whose name a new one would get."""
        return self._listed(slug(name)) if slug(name) else None

    def _listed(self, name: str) -> Node | None:
        if name not in self.seen:
            try:
                self.seen[name] = self.catalog.node(name)
            except UnknownNameError:
                self.seen[name] = None
        return self.seen[name]

    def add(self, name: str, provider: str, gpu: str, gpus: int, host: Mapping[str, Any]) -> Node:
        """Return a new node of some GPUs on a host, of which what is not known stays null."""
        facts = {key: value for key, value in host.items() if value is not None}
        source = Source(tag=self.tag, confidence="secondary")
        node = Node.model_validate(
            {
                "name": slug(name),
                "aliases": () if slug(name) == name else (name,),
                "provider": provider,
                "gpu": gpu,
                "gpus": gpus,
                "sources": dict.fromkeys(("gpu", "gpus", *facts), source),
                **facts,
            },
            context={"base_units": True},
        )
        self.new[node.name] = node
        return node
