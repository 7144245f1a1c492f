"""What a question may ask of this version: everything else is refused by name, never ignored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from math import isfinite
from typing import get_args

from llmplan.errors import InputError, LlmplanError, UnknownNameError, near
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import DeploymentRequest, gpu_and_count
from llmplan.spec.hardware import Market
from llmplan.spec.lengths import Lengths
from llmplan.spec.messages import dotted
from llmplan.spec.plan import Plan, Pool
from llmplan.spec.readers import read_model
from llmplan.spec.workload import Fleet, Limits, OfferFilter, OneOffer, Traffic, TrafficClass, Workload

Steps = tuple[str | int, ...]
Place = Callable[[Steps], str]
"""From a path to who said its value: a file with its line, or an option."""

MARKETS: tuple[Market, ...] = get_args(Market)
SHARE_TOLERANCE = 1e-3
MOST_TOKENS = 10**9
MOST_LOAD = 1e6
MOST_CV = 100.0
"""Beyond these, floating-point arithmetic and the solver's tolerances give no answer that is worth printing."""


def offer_filter(fleet: Fleet) -> OfferFilter:
    """Return what may be rented, narrowed to the GPU and offer that the deployment fixes."""
    wanted, offers = fleet.workloads[0].deployment, fleet.offers
    gpus = offers.gpus if wanted.gpu is None else (gpu_and_count(wanted.gpu)[0],)
    if wanted.offer is None:
        return offers.model_copy(update={"gpus": gpus})
    provider, node, region, market = _offer_parts(wanted.offer)
    return OneOffer(providers=(provider,), nodes=(node,), regions=(region,), markets=(market,), gpus=gpus)


def _offer_parts(name: str) -> tuple[str, str, str, Market]:
    parts = name.split("/")
    if len(parts) != 4 or parts[3] not in MARKETS:
        raise InputError(f"deployment.offer: {name!r} is no offer; want provider/node/region/market")
    return parts[0], parts[1], parts[2], MARKETS[MARKETS.index(parts[3])]


def check_supported(fleet: Fleet, where: str, place: Place | None = None) -> None:
    """Refuse what the nouns can say and this version does not plan yet.

    Parameters
    ----------
    place : function, optional
        For messages that name the line.

    Raises
    ------
    InputError
        One line: the field, and what to do instead.
    """
    for path, said in chain(unread_in_fleet(fleet), _unread_in_workload(fleet.workloads[0])):
        raise InputError(f"{place(path) if place else where}: {dotted(path)}: {said}")


def check_searched(fleet: Fleet, slices: bool, where: str, place: Place | None = None) -> None:
    """Refuse what is no part of a search: a count that it finds itself, limits that the slice form lacks.

    Parameters
    ----------
    slices : bool
        Whether the published slice form is solved.
    place : function, optional
        For messages that name the line.

    Raises
    ------
    InputError
        One line: the field, and what to do instead.
    """
    refused: list[tuple[Steps, str]] = []
    if fleet.workloads[0].deployment.replicas is not None:
        refused.append((("deployment", "replicas"), "recommend finds the count; leave it out, or ask estimate"))
    if slices and fleet.limits != Limits():
        refused.append((("limits",), "the published slice form has none; leave --method out"))
    for path, said in refused:
        raise InputError(f"{place(path) if place else where}: {dotted(path)}: {said}")


def unread_in_fleet(fleet: Fleet) -> Iterator[tuple[Steps, str]]:
    """Yield the path of each shared key that is not planned yet, and what to do instead."""
    if len(fleet.workloads) > 1:
        yield ("workloads",), "several workloads are not planned together yet; give one at a time"
    if fleet.periods:
        yield ("periods",), "not planned yet; give the rate of the busiest period"
    if fleet.faults:
        yield ("faults",), "not planned yet; leave them out and add replicas to the plan"
    if fleet.limits.spot_share is not None:
        yield ("limits", "spot_share"), "not planned yet; choose with offers.markets"
    if "headroom" in fleet.goals:
        yield ("goals",), "headroom is not planned yet; leave it out"
    elif fleet.goals not in (("cost",), ("cost", "configurations")):
        yield ("goals",), "cost comes first in this version; want [cost] or [cost, configurations]"


def _unread_in_workload(workload: Workload) -> Iterator[tuple[Steps, str]]:
    traffic = workload.traffic
    if traffic.trace is not None:
        yield ("workload", "trace"), "not replayed yet; give input_tokens, output_tokens and rate"
    if traffic.adapters is not None:
        yield ("workload", "adapters"), "not modeled yet; leave them out"
    if traffic.prefix is not None and traffic.prefix.hit_rate is None:
        yield ("workload", "prefix"), "groups are not simulated yet; give hit_rate"
    if workload.techniques:
        yield ("techniques",), "none is applied yet; leave them out"
    yield from _beyond_reckoning(traffic)
    yield from _alike(workload)
    yield from _torn(workload.deployment)


def _lengths(traffic: Traffic) -> Iterator[tuple[Steps, Lengths]]:
    holders: list[tuple[Steps, Traffic | TrafficClass]] = [(("workload",), traffic)]
    holders += [(("workload", "classes", i), one) for i, one in enumerate(traffic.classes)]
    for path, holder in holders:
        for name, lengths in (("input_tokens", holder.input_tokens), ("output_tokens", holder.output_tokens)):
            if lengths is not None:
                yield (*path, name), lengths


def _beyond_reckoning(traffic: Traffic) -> Iterator[tuple[Steps, str]]:
    """Yield figures that are no traffic: none at all, or more than any arithmetic here can carry."""
    for path, lengths in _lengths(traffic):
        rows = lengths.histogram or ()
        counts = [lengths.tokens, lengths.mean, lengths.p99, *(n for n, _ in rows)]
        if lengths.tokens == 0:
            yield path, "0 is not a token count; want an integer of 1 or more"
        if any(count is not None and count > MOST_TOKENS for count in counts):
            yield path, f"more than {MOST_TOKENS:,} tokens are no request; want fewer"
        if not isfinite(sum(weight for _, weight in rows)):
            yield path, "the weights of the histogram have no finite sum"
    if traffic.arrivals.cv > MOST_CV:
        yield ("workload", "arrivals", "cv"), f"{traffic.arrivals.cv:g} is out of range; want {MOST_CV:g} or less"
    load = traffic.concurrency if traffic.concurrency is not None else traffic.rate_requests_per_s
    name = "classes" if traffic.classes else "users" if traffic.users else "concurrency"
    key = ("workload", "rate" if traffic.requests_per_s is not None else name)
    if load is not None and load > MOST_LOAD:
        yield key, f"{load:g} is out of range; want {MOST_LOAD:g} or less"
    if load == 0:
        yield key, "no class has any load; give one a rate above 0"


def _alike(workload: Workload) -> Iterator[tuple[Steps, str]]:
    """Yield kinds of requests that share a name: answers could not tell them apart."""
    traffic = workload.traffic
    names = Counter(c.name or f"class{i}" for i, c in enumerate(traffic.classes, start=1))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        yield ("workload", "classes"), f"two classes are called {twice[0]!r}; give each a name of its own"
    for path, lengths in _lengths(traffic):
        tops = Counter(f"{high:.0f}" for _, _, _, high in lengths.cells()) if path[-1] == "input_tokens" else {}
        same = [top for top, count in tops.items() if count > 1]
        if same:
            yield path, f"two parts of the distribution end at {same[0]} tokens; give one token count, or a histogram"


def _torn(wanted: DeploymentRequest) -> Iterator[tuple[Steps, str]]:
    """Yield a deployment whose widths contradict its number of GPUs."""
    count = gpu_and_count(wanted.gpu)[1] if wanted.gpu else None
    widths = {name: getattr(wanted, name) for name in ("tp", "pp", "dp") if getattr(wanted, name) is not None}
    product = 1
    for width in widths.values():
        product *= width
    if count is not None and count % product:
        said = " x ".join(f"{name} {width}" for name, width in widths.items())
        yield ("deployment",), f"{said} takes {product} GPUs or a multiple of it, but gpu says {count}"


def check_names(fleet: Fleet, catalog: Catalog, where: str, place: Place) -> None:
    """Refuse a name that the catalog lacks, with its line.

    Raises
    ------
    LlmplanError
        One line: file, line and key, the name, and the nearest ones.
    """
    workload, offers = fleet.workloads[0], fleet.offers
    if workload.model is not None:
        with _told_at(place, ("model",), UnknownNameError):
            read_model(workload.model, catalog, beside=where)
    if workload.engine != "auto":
        with _told_at(place, ("engine",)):
            catalog.engine(workload.engine)
    gpus: list[tuple[Steps, str]] = [(("offers", "gpus", i), name) for i, name in enumerate(offers.gpus)]
    if workload.deployment.gpu is not None:
        gpus.append((("deployment", "gpu"), workload.deployment.gpu))
    for path, name in gpus:
        with _told_at(place, path):
            catalog.gpu(gpu_and_count(name)[0])
    for field in ("providers", "regions", "nodes"):
        for i, name in enumerate(getattr(offers, field)):
            with _told_at(place, ("offers", field, i)):
                catalog.offers(OfferFilter.model_validate({field: [name]}))
    if workload.deployment.offer is not None:
        with _told_at(place, ("deployment", "offer")):
            _check_offer(workload.deployment.offer, catalog)


def _check_offer(name: str, catalog: Catalog) -> None:
    provider, node, region, market = _offer_parts(name)
    wanted = OneOffer(providers=(provider,), nodes=(node,), regions=(region,), markets=MARKETS)
    known = [offer.name for offer in catalog.offers(wanted)]
    if not any(offer.endswith(f"/{market}") for offer in known):
        advice = near(name, known) or "llmplan catalog list offers shows them"
        raise UnknownNameError(f"{name!r} has no price; {advice}")


@contextmanager
def _told_at(place: Place, path: Steps, kind: type[LlmplanError] = LlmplanError) -> Iterator[None]:
    """Put the line and the key before what is said of a name."""
    try:
        yield
    except kind as error:
        said = re.sub(r"\A(?:offers\.\w+|deployment\.offer): ", "", str(error))
        raise type(error)(f"{place(path)}: {dotted(path)}: {said}") from None


def check_plan(plan: Plan, where: str) -> None:
    """Refuse a plan whose parts do not fit together: somebody has cut or edited it.

    Raises
    ------
    InputError
        One line: the key, what it names or counts, and what the rest of the plan says.
    """
    for path, said in chain(_dangling(plan), _unbalanced(plan)):
        raise InputError(f"{where}: plan.{dotted(path)}: {said}")


def _dangling(plan: Plan) -> Iterator[tuple[Steps, str]]:
    """Yield what is empty, comes twice, or names something that the plan does not hold."""
    for part in ("buckets", "offers", "rentals", "pools", "shares"):
        if not getattr(plan, part):
            yield (part,), "is empty; a plan needs one or more"
    names = {part: [one.name for one in getattr(plan, part)] for part in ("buckets", "offers", "pools")}
    for part, known in names.items():
        for i, name in enumerate(known):
            if name in known[:i]:
                yield (part, i, "name"), f"{name!r} is here twice; keep one"
    references: list[tuple[Steps, str, str]] = []
    references += [(("pools", i, "offer"), "offers", pool.offer) for i, pool in enumerate(plan.pools)]
    references += [(("rentals", i, "offer"), "offers", rental.offer) for i, rental in enumerate(plan.rentals)]
    references += [(("shares", i, "pool"), "pools", share.pool) for i, share in enumerate(plan.shares)]
    references += [(("shares", i, "bucket"), "buckets", share.bucket) for i, share in enumerate(plan.shares)]
    for path, part, name in references:
        if name not in names[part]:
            yield path, f"{name!r} is not in plan.{part}; {near(name, names[part])}"
    for i, pool in enumerate(plan.pools):
        yield from _loose_pool(plan, ("pools", i), pool)


def _loose_pool(plan: Plan, path: Steps, pool: Pool) -> Iterator[tuple[Steps, str]]:
    if (pool.deployment is None) == (pool.profile is None):
        yield (*path, "deployment"), "missing; a pool has a deployment, or a profile"
    if (pool.profile is None) != (plan.pools[0].profile is None):
        yield (*path, "profile"), "all pools of a plan have a profile, or none has"
    for bucket in plan.buckets if pool.profile is not None else ():
        if bucket.name not in (pool.profile or {}):
            yield (*path, "profile"), f"bucket {bucket.name!r} is not in it"
    if pool.deployment is None:
        return
    if pool.deployment.model not in plan.models:
        known = near(pool.deployment.model, plan.models) or "plan.models is empty"
        yield (*path, "deployment", "model"), f"{pool.deployment.model!r} is not in plan.models; {known}"
    if pool.deployment.gpus != pool.gpus:
        yield (*path, "gpus"), f"{pool.gpus} is not the {pool.deployment.gpus} GPUs of its layout"
    for i, stage in enumerate(pool.deployment.stages):
        if stage.gpu != pool.gpu:
            yield (*path, "deployment", "stages", i, "gpu"), f"{stage.gpu!r} is not the pool's gpu {pool.gpu!r}"


def _unbalanced(plan: Plan) -> Iterator[tuple[Steps, str]]:
    """Yield buckets without load or not served just once, idle pools, and pools without room on the rented nodes."""
    served = {bucket.name: 0.0 for bucket in plan.buckets}
    work = {pool.name: 0.0 for pool in plan.pools}
    for share in plan.shares:
        served[share.bucket] += share.share
        work[share.pool] += share.share
    for i, bucket in enumerate(plan.buckets):
        if bucket.load <= 0:
            yield ("buckets", i), "has no load; want requests_per_s or concurrency above 0"
        if abs(served[bucket.name] - 1) > SHARE_TOLERANCE:
            yield ("shares",), f"bucket {bucket.name!r} is served {served[bucket.name]:.3g} times; want once"
    for i, pool in enumerate(plan.pools):
        if work[pool.name] == 0:
            yield ("pools", i), "serves nothing; want a share above 0, or leave it out"
    size = {offer.name: offer.node.gpus for offer in plan.offers}
    for name in size:
        room = sum(size[name] * rental.nodes for rental in plan.rentals if rental.offer == name)
        used = sum(pool.gpus * pool.count for pool in plan.pools if pool.offer == name)
        if used > room:
            yield ("rentals",), f"the nodes of {name} have {room} GPUs, its pools need {used}"
