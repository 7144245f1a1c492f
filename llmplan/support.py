"""What a question may ask of this version: everything else is refused by name, never ignored."""

from __future__ import annotations

import re

from llmplan.errors import InputError
from llmplan.spec.workload import Fleet, Lengths, OfferFilter, Workload

_COUNTED = re.compile(r"(?:(?P<count>\d+)\s*x\s*)?(?P<gpu>[^:]*?)(?::(?P<tail>\d+))?\Z")


def gpu_and_count(text: str) -> tuple[str, int | None]:
    """Return the GPU and the number of a shorthand: `h100-sxm`, `8xH100` or `H100:8`.

    Raises
    ------
    InputError
        The text is no GPU, or its number is 0.
    """
    parts = _COUNTED.match(text.strip())
    gpu = parts["gpu"].strip() if parts else ""
    number = (parts["count"] or parts["tail"]) if parts else None
    if not parts or not gpu or (parts["count"] and parts["tail"]) or number == "0":
        raise InputError(f"{text!r} is no GPU; write it as h100-sxm, 8xH100 or H100:8")
    return gpu, int(number) if number else None


def offer_filter(fleet: Fleet) -> OfferFilter:
    """Return what may be rented, narrowed to the GPU and offer that the deployment fixes."""
    wanted, offers = fleet.workloads[0].deployment, fleet.offers
    if wanted.offer is not None:
        provider, node, region, market = _offer_parts(wanted.offer)
        return OfferFilter.model_validate(
            {"providers": [provider], "nodes": [node], "regions": [region], "markets": [market]}
        )
    if wanted.gpu is None:
        return offers
    return offers.model_copy(update={"gpus": (gpu_and_count(wanted.gpu)[0],)})


def _offer_parts(name: str) -> tuple[str, str, str, str]:
    parts = name.split("/")
    if len(parts) != 4 or parts[3] not in ("on_demand", "reserved", "spot", "owned"):
        raise InputError(f"deployment.offer: {name!r} is no offer; want provider/node/region/market")
    return parts[0], parts[1], parts[2], parts[3]


def check_supported(fleet: Fleet, where: str) -> None:
    """Refuse what the nouns can say and this version does not plan yet.

    Raises
    ------
    InputError
        One line: the field, and what to do instead.
    """
    for said in (*_unread_in_fleet(fleet), *_unread_in_workload(fleet.workloads[0])):
        raise InputError(f"{where}: {said}")


def _unread_in_fleet(fleet: Fleet) -> list[str]:
    said = []
    if len(fleet.workloads) > 1:
        said.append("workloads: several workloads are not planned together yet; give one at a time")
    if fleet.periods:
        said.append("periods: not planned yet; give the rate of the busiest period")
    if fleet.faults:
        said.append("faults: not planned yet; leave them out and add replicas to the plan")
    if fleet.limits.spot_share is not None:
        said.append("limits.spot_share: not planned yet; choose with offers.markets")
    if fleet.goals and fleet.goals[0] != "cost":
        said.append("goals: cost comes first in this version")
    if "headroom" in fleet.goals:
        said.append("goals: headroom is not planned yet; leave it out")
    return said


def _unread_in_workload(workload: Workload) -> list[str]:
    traffic = workload.traffic
    said = []
    if traffic.trace is not None:
        said.append("workload.trace: not replayed yet; give input_tokens, output_tokens and rate")
    if traffic.adapters is not None:
        said.append("workload.adapters: not modeled yet; leave them out")
    if traffic.prefix is not None and traffic.prefix.hit_rate is None:
        said.append("workload.prefix: groups are not simulated yet; give hit_rate")
    if traffic.routing_skew:
        said.append("workload.routing_skew: not modeled yet; expert choice is taken as even (0)")
    if workload.techniques:
        said.append("techniques: none is applied yet; leave them out")
    lengths: list[tuple[Lengths | None, Lengths | None]] = [(traffic.input_tokens, traffic.output_tokens)]
    lengths += [(c.input_tokens, c.output_tokens) for c in traffic.classes]
    for one in lengths:
        for name, value in zip(("input_tokens", "output_tokens"), one, strict=True):
            if value is not None and value.tokens == 0:
                said.append(f"workload.{name}: 0 is not a token count; want an integer of 1 or more")
    return said
