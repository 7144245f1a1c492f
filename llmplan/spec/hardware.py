"""Devices, what joins them, rentable hosts and their prices."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from llmplan.spec.base import (
    Bytes,
    BytesPerS,
    Count,
    FlopPerS,
    Hertz,
    Seconds,
    Sources,
    Spec,
    UsdPerHour,
    Watts,
    folded,
)
from llmplan.spec.terms import Price, Terms, terms_of, usd_per_hour_of

Status = Literal["released", "preliminary", "retired"]
Market = Literal["on_demand", "reserved", "spot", "owned"]


class Gpu(Spec):
    """One accelerator as its datasheet describes it."""

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str
    architecture: str
    """Family whose kernels behave alike (`hopper`, `ada`, `cdna3`); fits transfer inside it."""
    status: Status = "released"
    memory_bytes: Bytes
    """Device memory as the device reports it, before the runtime's own share."""
    memory_bytes_per_s: BytesPerS
    """Peak bandwidth to device memory."""
    flop_per_s: Mapping[str, FlopPerS]
    """Peak dense rate for each compute type (bf16, fp8, int8, fp4)."""
    multiprocessors: Count | None = None
    """Streaming multiprocessors, compute units or cores; null: not known or not comparable, taken as on an H100."""
    clock_hz: Hertz | None = None
    """Boost clock; null: not known, kernels start as fast as on the device they were timed on."""
    l2_bytes: Bytes | None = None
    shared_memory_bytes: Bytes | None = None
    """Shared memory of one multiprocessor."""
    tdp_w: Watts | None = None
    idle_w: Watts | None = None
    link: str | None
    """The link between devices of one host (`hardware/links`); null: they meet on `host_link`."""
    link_domain: Count = 1
    """How many devices that link joins."""
    host_link: str | None = None
    """The link to the host (`hardware/links`); null: not known, or the device shares the memory of its host."""
    notes: str = ""
    sources: Sources
    """Where each value was seen, by field name."""


class Link(Spec):
    """What joins two devices, hosts or sites."""

    name: str
    aliases: tuple[str, ...] = ()
    kind: Literal["device", "host", "network"]
    bytes_per_s: BytesPerS
    """Bandwidth of one device, one direction."""
    latency_s: Seconds
    """Time of an empty message."""
    notes: str = ""
    sources: Sources


class Node(Spec):
    """A rentable host. A fact nobody published is null: the answer then says what it rules out."""

    name: str
    aliases: tuple[str, ...] = ()
    provider: str
    gpu: str
    gpus: Count
    vcpus: Count | None = None
    dram_bytes: Bytes | None = None
    """Host memory, shared by every replica on the node."""
    dram_bytes_per_s: BytesPerS | None = None
    nic_bytes_per_s: BytesPerS | None = None
    """Network of the whole node, one direction; null: single-node replicas only."""
    nvme_bytes: Bytes | None = None
    link_domain: Count | None = None
    """Devices joined by the gpu's own link on this host; null: as the gpu's datasheet says, at most `gpus`."""
    notes: str = ""
    sources: Sources


class Refusal(Spec):
    """Names that are known and not modeled, and why."""

    names: tuple[str, ...] = ()
    pattern: str | None = None
    """Regular expression of further names, over a whole name in lower case; its groups may stand in `reason`. One
    whose group `whole` means no entry does not hold."""
    reason: str
    """What they are, why they are not modeled and what to name instead; follows the name in a message."""


class Refused(Spec):
    """Every name that is refused with a reason, by kind of entry."""

    gpus: tuple[Refusal, ...] = ()
    nodes: tuple[Refusal, ...] = ()
    engines: tuple[Refusal, ...] = ()
    models: tuple[Refusal, ...] = ()

    def reason(self, kind: str, name: str, meant: Callable[[str], Sequence[str]]) -> str | None:
        """Return why a name of a kind (`gpus`, `nodes`, …) is refused; None when it is not known at all.

        Parameters
        ----------
        meant : function
            From a part of a name to the entries that it may mean, for what a reason names instead.
        """
        for entry in getattr(self, kind, ()):
            if folded(name) in {folded(known) for known in entry.names}:
                return f"{name!r} {entry.reason}"
            found = re.fullmatch(entry.pattern, name.strip().lower()) if entry.pattern else None
            if not found:
                continue
            parts = found.groupdict()
            if "whole" not in parts:
                return f"{name!r} {entry.reason}"
            names = meant(parts["whole"])
            if names:
                said = " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
                return f"{name!r} {entry.reason.format(**parts | {'whole': said, 'first': names[0]})}"
        return None


class PriceSheet(Spec):
    """One dated snapshot of one provider's prices, for whole nodes."""

    provider: str
    snapshot: date | None
    """Day of the prices; null: not known. Such a shipped sheet counts only when its provider or a node is named."""
    source: str
    usd_per_hour: Mapping[str, Mapping[str, Mapping[Market, Price]]] = Field(alias="offers")
    """Node → region → market → price of the whole node, or the terms that it follows from."""

    def rows(self) -> list[PriceRow]:
        """Return (node, region, market, usd_per_hour) for every price of the sheet."""
        return [
            (node, region, market, usd_per_hour_of(price))
            for node, regions in self.usd_per_hour.items()
            for region, markets in regions.items()
            for market, price in markets.items()
        ]

    def terms(self, node: str, region: str, market: Market) -> Terms:
        """Return what is known beside the price of a node."""
        return terms_of(self.usd_per_hour[node][region][market])


PriceRow = tuple[str, str, Market, float]
"""Node, region, market, price of the whole node. [USD/h]"""

_HEAD = re.compile(r"(?:#.*\n)*provider: ([\w-]+)\nsnapshot: ([\w-]+)\nsource: .*\noffers:\n")
_PRICE = r"(\w+): ([0-9]+\.?[0-9]*) USD/h"
_ROW = re.compile(rf"  ([\w.-]+):\n|    ([\w.-]+): \{{{_PRICE}(?:, {_PRICE})?\}}\n")


def plain_rows(text: str) -> tuple[str, date | None, list[PriceRow]] | None:
    """Return provider, day and rows of a price sheet in the form of the shipped ones, unchecked; None: of another form.

    A thousand prices are read in a millisecond, of which a question needs a few.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    node, at = "", head.end()
    rows: list[PriceRow] = []
    for match in _ROW.finditer(text, at):
        if match.start() != at:
            return None
        at = match.end()
        name, region, market, usd, other, more = match.groups()
        if name:
            node = name
            continue
        rows.append((node, region, market, float(usd)))  # type: ignore[arg-type]
        if other:
            rows.append((node, region, other, float(more)))  # type: ignore[arg-type]
    day = None if head[2] == "null" else date.fromisoformat(head[2])
    return (head[1], day, rows) if at == len(text) else None


class Offer(Spec):
    """A node at a price, in a region, a market and on a date: what the solver counts."""

    name: str
    """provider/node/region/market."""
    node: Node
    region: str
    market: Market
    usd_per_hour: UsdPerHour
    """Price of the whole node."""
    snapshot: date | None = None
    """Day of the price; null: not known, or the user's own table."""
    available: Annotated[int, Field(ge=0)] | None = None
    """Nodes obtainable; null: no cap is known."""
    highest_usd_per_hour: UsdPerHour | None = None
    """In the dearest zone of the region; null: one price is known."""

    @property
    def provider(self) -> str:
        """Who rents it out: the price sheet's provider."""
        return self.name.split("/")[0]
