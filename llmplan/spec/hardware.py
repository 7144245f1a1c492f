"""Devices, what joins them, rentable hosts and their prices."""

from __future__ import annotations

from collections.abc import Mapping
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
    Source,
    Spec,
    UsdPerHour,
    Watts,
)
from llmplan.spec.terms import Price, Terms, terms_of, usd_per_hour_of

Status = Literal["released", "preliminary", "retired"]
Market = Literal["on_demand", "reserved", "spot", "owned"]
Dtype = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4", "nvfp4", "mxfp4"]


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
    multiprocessors: Count
    clock_hz: Hertz
    """Boost clock."""
    l2_bytes: Bytes | None = None
    shared_memory_bytes: Bytes | None = None
    """Shared memory of one multiprocessor."""
    tdp_w: Watts
    idle_w: Watts | None = None
    link: str | None
    """The link between devices of one host (`hardware/links`); null: they meet on `host_link`."""
    link_domain: Count = 1
    """How many devices that link joins."""
    host_link: str
    """The link to the host (`hardware/links`)."""
    notes: str = ""
    sources: Mapping[str, Source]
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
    sources: Mapping[str, Source]


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
    sources: Mapping[str, Source]


class PriceSheet(Spec):
    """One dated snapshot of one provider's prices, for whole nodes."""

    provider: str
    snapshot: date | None
    """Day of the prices; null: not known. Such a shipped sheet counts only when its provider or a node is named."""
    source: str
    usd_per_hour: Mapping[str, Mapping[str, Mapping[Market, Price]]] = Field(alias="offers")
    """Node → region → market → price of the whole node, or the terms that it follows from."""

    def rows(self) -> list[tuple[str, str, Market, float]]:
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
