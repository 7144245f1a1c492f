"""Planning on the user's measured table: it replaces the model, its cells are the buckets, nothing is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmplan.errors import InputError
from llmplan.plan.columns import Column
from llmplan.spec.deployment import DeploymentRequest
from llmplan.spec.hardware import Node, Offer
from llmplan.spec.messages import dotted
from llmplan.spec.readers import ProfileRow
from llmplan.spec.workload import Bucket, Fleet, OfferFilter, Slo
from llmplan.support import unread_in_fleet

PROVIDER = "profile"


def profile_fleet(fleet: Fleet, rows: Sequence[ProfileRow], where: str) -> Fleet:
    """Return the fleet, checked: its classes must be cells of the table.

    Raises
    ------
    InputError
        A class has a length distribution, or its lengths are in no row; no load; closed loop; several workloads, or
        another key that a table leaves no room for.
    """
    for path, said in (*unread_in_fleet(fleet), *_without_effect(fleet)):
        raise InputError(f"{where}: {dotted(path)}: {said}")
    traffic = fleet.workloads[0].traffic
    if traffic.rate_requests_per_s is None:
        raise InputError(f"{where}: workload: a measured table needs arrivals; give rate or classes with rates")
    if traffic.rate_requests_per_s == 0:
        raise InputError(f"{where}: workload.classes: no class has any load; give one a rate above 0")
    known = sorted({(row.input_tokens, row.output_tokens) for row in rows})
    for place, (tokens_in, tokens_out, _) in enumerate(_cells(fleet)):
        if tokens_in is None or tokens_out is None:
            raise InputError(f"{where}: workload: a measured table takes one token count a class, no distribution")
        at = f"workload.classes[{place}]" if traffic.classes else "workload"
        if (tokens_in, tokens_out) not in known:
            near = min(known, key=lambda cell: abs(cell[0] - tokens_in) + abs(cell[1] - tokens_out))
            raise InputError(
                f"{where}: {at}: the table has no cell {tokens_in:g} in, {tokens_out:g} out; "
                f"the nearest is {near[0]:g} in, {near[1]:g} out"
            )
    return fleet


def _without_effect(fleet: Fleet) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield keys that say how to serve, which the table has decided, or where to rent, which it does not know."""
    workload = fleet.workloads[0]
    for field, value in (
        ("deployment", workload.deployment != DeploymentRequest()),
        ("techniques", workload.techniques),
    ):
        if value:
            yield (field,), "the measured table has decided how to serve; leave it out"
    for field in ("providers", "regions", "nodes", "markets"):
        if getattr(fleet.offers, field) != getattr(OfferFilter(), field):
            yield ("offers", field), "the measured table has its own prices; choose among its GPUs with offers.gpus"


def _cells(fleet: Fleet) -> list[tuple[float | None, float | None, float]]:
    """Return (input tokens, output tokens, rate) of each class; None for a distribution."""
    traffic = fleet.workloads[0].traffic
    if traffic.classes:
        return [(c.input_tokens.tokens, c.output_tokens.tokens, c.requests_per_s) for c in traffic.classes]
    one_in, one_out = traffic.input_tokens, traffic.output_tokens
    rate = traffic.rate_requests_per_s or 0.0
    return [(one_in.tokens if one_in else None, one_out.tokens if one_out else None, rate)]


def profile_columns(
    fleet: Fleet, rows: Sequence[ProfileRow], where: str
) -> tuple[list[Column], list[Offer], list[Bucket]]:
    """Return a column and an offer for each GPU of the table, and the cells that have load as buckets.

    Raises
    ------
    InputError
        `offers.gpus` names a GPU the table does not have.
    """
    demand: dict[tuple[float, float], float] = {}
    for tokens_in, tokens_out, rate in _cells(fleet):
        key = (float(tokens_in or 0), float(tokens_out or 0))
        demand[key] = demand.get(key, 0.0) + rate
    buckets = [_bucket(cell, rate) for cell, rate in demand.items() if rate > 0]
    capacity = {(r.gpu, r.input_tokens, r.output_tokens): r.requests_per_s for r in rows}
    prices = {r.gpu: r.usd_per_hour for r in rows}
    wanted = fleet.offers.gpus or tuple(prices)
    unknown = [gpu for gpu in wanted if gpu not in prices]
    if unknown:
        raise InputError(f"{where}: offers.gpus: the table has no {unknown[0]!r}; it has {', '.join(sorted(prices))}")
    columns, offers = [], []
    for gpu in sorted(wanted):
        offer = _offer(gpu, prices[gpu])
        offers.append(offer)
        cells = [(gpu, *cell) for cell, rate in demand.items() if rate > 0]
        columns.append(
            Column(
                name=gpu,
                gpu=gpu,
                gpus=1,
                requests_per_s=tuple(capacity.get(cell, 0.0) for cell in cells),
                offer=offer.name,
                node_gpus=1,
                node_usd_per_hour=prices[gpu],
            )
        )
    return columns, offers, buckets


def _bucket(cell: tuple[float, float], rate: float) -> Bucket:
    tokens_in, tokens_out = cell
    return Bucket.model_construct(
        name=f"{tokens_in:g} in {tokens_out:g} out",
        traffic_class=f"{tokens_in:g} in {tokens_out:g} out",
        input_tokens=tokens_in,
        input_tokens_max=tokens_in,
        cached_share=0.0,
        prefix_group=None,
        output_tokens=tokens_out,
        output_tokens_square=tokens_out**2,
        output_tokens_max=tokens_out,
        output_tokens_tail=tokens_out,
        requests_per_s=rate,
        concurrency=None,
        slo=Slo(),
    )


def _offer(gpu: str, usd_per_hour: float) -> Offer:
    """Return a replica of the table as an offer: one node holds one replica, whatever it is made of."""
    node = Node.model_construct(name=gpu, aliases=(), provider=PROVIDER, gpu=gpu, gpus=1, notes="", sources={})
    return Offer.model_construct(
        name=f"{PROVIDER}/{gpu}",
        node=node,
        region="-",
        market="on_demand",
        usd_per_hour=usd_per_hour,
        snapshot=None,
        available=None,
    )
