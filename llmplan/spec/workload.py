"""Traffic, bounds and what may be rented: what the user asks for."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmplan import units
from llmplan.spec.base import Count, Fraction, RequestsPerS, Seconds, Spec, UsdPerHour
from llmplan.spec.deployment import DeploymentRequest
from llmplan.spec.hardware import Market
from llmplan.spec.lengths import TokenLengths

DEFAULT_PERCENTILE = 95.0
"""Percentile that is reported where no bound names one."""


_BOUND = re.compile(r"\s*(?P<time>.+?)\s+p(?P<percentile>\d{1,2}(?:\.\d+)?)\s*\Z")


class Bound(Spec):
    """A bound on a percentile of a time."""

    bound_s: Seconds
    percentile: float = Field(gt=0, lt=100)

    @property
    def label(self) -> str:
        """The percentile as people write it (p95)."""
        return f"p{self.percentile:g}"


def _read_bound(value: Any) -> Any:
    if isinstance(value, str):
        parts = _BOUND.match(value)
        if parts is None:
            raise ValueError(f"{value!r} is not a bound on a percentile; write it as '800 ms p95'")
        bound_s = units.parse(parts["time"], "s")
        if bound_s <= 0:
            raise ValueError(f"{value!r} leaves no time; write it as '800 ms p95'")
        return {"bound_s": parts["time"], "percentile": float(parts["percentile"])}
    if isinstance(value, int | float):
        raise ValueError(f"{value!r} has no unit and no percentile; write it as '800 ms p95'")
    return value


PercentileBound = Annotated[Bound, BeforeValidator(_read_bound, json_schema_input_type=str | Bound)]


class Slo(Spec):
    """Bounds that all hold at once; none given: cost alone decides."""

    ttft: PercentileBound | None = None
    """Arrival to first token, queueing included."""
    tpot: PercentileBound | None = None
    """(end - first token) / (output_tokens - 1), one number a request."""
    e2e: PercentileBound | None = None
    """Arrival to last token."""

    def bounds(self) -> dict[str, Bound]:
        """Return the bounds that are given, by metric."""
        return {name: b for name in ("ttft", "tpot", "e2e") if (b := getattr(self, name)) is not None}


class Arrivals(Spec):
    """How requests come: a process and the coefficient of variation of its gaps."""

    process: Literal["poisson", "gamma", "weibull", "deterministic"] = "poisson"
    cv: float = Field(default=1.0, ge=0)
    """Standard deviation of the gaps over their mean (Poisson: 1)."""

    @model_validator(mode="after")
    def _agree(self) -> Arrivals:
        fixed = {"poisson": 1.0, "deterministic": 0.0}.get(self.process)
        if fixed is not None and "cv" in self.model_fields_set and self.cv != fixed:
            raise ValueError(f"{self.process} arrivals have cv {fixed:g}; for cv {self.cv:g} use process: gamma")
        return self

    @property
    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps."""
        return 0.0 if self.process == "deterministic" else self.cv


class Users(Spec):
    """People at work: a rate in other words."""

    active: Count
    requests_per_user_minute: float = Field(gt=0)


class Prefix(Spec):
    """Shared beginnings of prompts."""

    hit_rate: Fraction | None = None
    """Share of input tokens found in the prefix cache; overrides any model of it."""
    groups: Count | None = None
    tokens: Count | None = None
    popularity: str | None = None


class Adapters(Spec):
    """LoRA adapters in the traffic."""

    count: Count
    rank: Count
    popularity: str = "uniform"


class TrafficClass(Spec):
    """One kind of request that a router can tell apart."""

    name: str | None = None
    input_tokens: TokenLengths
    output_tokens: TokenLengths
    requests_per_s: RequestsPerS = Field(alias="rate")
    slo: Slo | None = None
    """Bounds of this class; null: those of the workload."""


class Traffic(Spec):
    """Lengths and load of one workload."""

    input_tokens: TokenLengths | None = None
    """ISL."""
    output_tokens: TokenLengths | None = None
    """OSL."""
    requests_per_s: RequestsPerS | None = Field(default=None, alias="rate")
    concurrency: Count | None = None
    """Requests always in flight (closed loop)."""
    users: Users | None = None
    trace: str | None = None
    """A file of arrivals and lengths."""
    arrivals: Arrivals = Arrivals()
    classes: tuple[TrafficClass, ...] = ()
    prefix: Prefix | None = None
    routing_skew: float = Field(default=1.2, ge=0, le=1.5)
    """0: experts are chosen alike; up to 1.5 ever less so: popularity is drawn from x to the power of minus this, as
    benchmarks draw it. Served runs of random tokens match 1.2."""
    adapters: Adapters | None = None

    @model_validator(mode="after")
    def _one_load(self) -> Traffic:
        given = [
            name
            for name, value in (
                ("rate", self.requests_per_s),
                ("concurrency", self.concurrency),
                ("users", self.users),
                ("trace", self.trace),
                ("classes", self.classes or None),
            )
            if value is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one")
        if not given:
            raise ValueError("no load; give one of rate, concurrency, users, trace, classes")
        if self.requests_per_s == 0:
            raise ValueError("rate: 0 requests/s is no load; want more than 0")
        self._check_lengths(given[0])
        return self

    def _check_lengths(self, load: str) -> None:
        lengths = (self.input_tokens, self.output_tokens)
        if load in ("trace", "classes"):
            if any(lengths):
                raise ValueError(f"input_tokens and output_tokens come from {load}; leave them out here")
            return
        missing = [n for n, v in zip(("input_tokens", "output_tokens"), lengths, strict=True) if v is None]
        if missing:
            raise ValueError(f"{' and '.join(missing)} missing; want token counts such as 2000 and 400")

    @property
    def closed(self) -> bool:
        """Whether a fixed number of requests is in flight: the next comes when one ends."""
        return self.concurrency is not None

    @property
    def gap_cv(self) -> float:
        """Coefficient of variation of the gaps between arrivals; 0 in closed loop."""
        return 0.0 if self.closed else self.arrivals.gap_cv

    @property
    def rate_requests_per_s(self) -> float | None:
        """Arrivals of the whole workload; None in closed loop."""
        if self.classes:
            return sum(c.requests_per_s for c in self.classes)
        if self.users is not None:
            return self.users.active * self.users.requests_per_user_minute * units.parse("1 requests/min", "requests/s")
        return self.requests_per_s


class Bucket(Spec):
    """What a router can observe (class, input range, prefix group) x a distribution of output lengths."""

    name: str
    traffic_class: str
    input_tokens: float = Field(gt=0)
    """Mean of the cell."""
    input_tokens_max: float = Field(gt=0)
    cached_share: Fraction = 0.0
    """Share of input tokens whose KV is already there."""
    prefix_group: int | None = None
    output_tokens: float = Field(gt=0)
    """Mean."""
    output_tokens_square: float = Field(gt=0)
    """Mean of the square: long answers weigh more in the decode context."""
    output_tokens_max: float = Field(gt=0)
    output_tokens_tail: float = Field(gt=0)
    """At the percentile of the E2E bound, or the 95th: what a long answer takes."""
    requests_per_s: RequestsPerS | None = None
    concurrency: float | None = None
    """Requests in flight (closed loop)."""
    slo: Slo = Slo()

    @property
    def load(self) -> float:
        """Arrivals per second, or requests in flight in closed loop."""
        return self.requests_per_s if self.requests_per_s is not None else float(self.concurrency or 0)


class Workload(Spec):
    """One model under one traffic and its bounds."""

    name: str = "workload"
    model: str | None = None
    """A name of `models/`, its Hugging Face id, or a path to a config.json; only a measured table needs none."""
    engine: str = "auto"
    traffic: Traffic = Field(alias="workload")
    slo: Slo = Slo()
    deployment: DeploymentRequest = DeploymentRequest()
    """What is already decided; {} searches everything."""
    techniques: tuple[str, ...] = ()

    def buckets(self) -> list[Bucket]:
        """Return the cells of this traffic that a router can tell apart, in a fixed order."""
        traffic = self.traffic
        hit = traffic.prefix.hit_rate if traffic.prefix and traffic.prefix.hit_rate is not None else 0.0
        classes = traffic.classes or (None,)
        found: list[Bucket] = []
        for number, one in enumerate(classes):
            inputs = one.input_tokens if one else traffic.input_tokens
            outputs = one.output_tokens if one else traffic.output_tokens
            if inputs is None or outputs is None:
                raise ValueError("lengths come from a trace that was not read")
            bound = (one.slo if one and one.slo else self.slo).e2e
            tail = (bound.percentile if bound else DEFAULT_PERCENTILE) / 100
            label = (one.name if one and one.name else f"class{number + 1}") if one else "all"
            load = one.requests_per_s if one else traffic.rate_requests_per_s
            cells = inputs.cells()
            for share, mean, _, high in cells:
                found.append(
                    Bucket.model_construct(
                        name=label if len(cells) == 1 else f"{label} in<={high:.0f}",
                        traffic_class=label,
                        input_tokens=mean,
                        input_tokens_max=high,
                        cached_share=hit,
                        prefix_group=None,
                        output_tokens=outputs.average(),
                        output_tokens_square=outputs.square(),
                        output_tokens_max=outputs.largest(),
                        output_tokens_tail=outputs.quantile(tail),
                        requests_per_s=load * share if load is not None else None,
                        concurrency=traffic.concurrency * share if traffic.concurrency else None,
                        slo=(one.slo if one and one.slo else self.slo),
                    )
                )
        return [bucket for bucket in found if bucket.load > 0]


EVERYWHERE = frozenset({"any", "all"})
"""Regions of a price that holds in every region of its provider."""


class OfferFilter(Spec):
    """What may be rented; nothing given: the whole catalog, but no spot."""

    gpus: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ("on_demand", "reserved", "owned")
    """No shipped sheet has reserved or owned prices: what yours hold is on offer, spot only when asked for."""

    def keeps_region(self, region: str) -> bool:
        """Return whether prices of a region are wanted; those of every region of their provider always are."""
        return not self.regions or region in self.regions or region in EVERYWHERE


class OneOffer(OfferFilter):
    """One offer by its name, where a region means itself alone."""

    def keeps_region(self, region: str) -> bool:
        """Return whether a region is the one named."""
        return region in self.regions


class Limits(Spec):
    """Hard bounds on the whole plan."""

    gpus: Count | None = None
    usd_per_hour: UsdPerHour | None = None
    usd_per_month: Annotated[float, Field(gt=0)] | None = None
    """In USD for 730 h."""
    spot_share: Fraction | None = None


class Fault(Spec):
    """What may be lost, and the share of the load that must still be served."""

    lose: Literal["replica", "node", "zone", "market"]
    serve: str = "100%"


class Period(Spec):
    """Hours of a day with their load."""

    hours: float = Field(gt=0)
    rate_factor: float = Field(ge=0)


Goal = Literal["cost", "configurations", "headroom"]


class Fleet(Spec):
    """Workloads on shared offers, limits, goals, faults and periods; one workload is a fleet of one."""

    workloads: tuple[Workload, ...] = Field(min_length=1)
    offers: OfferFilter = OfferFilter()
    limits: Limits = Limits()
    goals: tuple[Goal, ...] = ("cost", "configurations")
    faults: tuple[Fault, ...] = ()
    periods: tuple[Period, ...] = ()


class WorkloadFile(Workload):
    """A workload file: a fleet of one, its shared keys beside `workload:`."""

    offers: OfferFilter = OfferFilter()
    limits: Limits = Limits()
    goals: tuple[Goal, ...] = ("cost", "configurations")
    faults: tuple[Fault, ...] = ()
    periods: tuple[Period, ...] = ()

    def fleet(self) -> Fleet:
        """Return the fleet that holds this workload alone."""
        own = {name: getattr(self, name) for name in Workload.model_fields}
        shared = {name: getattr(self, name) for name in type(self).model_fields if name not in own}
        return Fleet(workloads=(Workload.model_construct(**own),), **shared)
