"""Answers: a Plan with its evidence, or the reason why there is none.

llmplan writes these: quantities are plain numbers in the base unit that the key names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from llmplan.spec.base import Count, Fraction, Spec
from llmplan.spec.deployment import Deployment, Phase, Policy
from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Offer
from llmplan.spec.model import Model
from llmplan.spec.workload import Bucket, Fleet

SCHEMA_VERSION = 1
NOT_INCLUDED = "egress, storage, idle, staff"
AT = " @ "
"""In the name of a pool, between its deployment and its offer."""

Method = Literal["steady_state", "approximation", "simulated", "profile"]
"""steady_state: means of a replica under constant load. approximation: a stated queueing formula, not simulated.
profile: the user's own table."""


class Predicted(Spec):
    """One predicted number, in the unit its key names, with its band; null when there is no evidence."""

    value: float | None
    low: float | None = None
    high: float | None = None
    basis: Basis | None = None
    method: Method | None = None
    reason: str | None = None
    """Why there is no value."""


class Memory(Spec):
    """Device memory of one rank, by part."""

    device_bytes: float
    reserved_bytes: float
    """Driver, device context, and what the engine's utilization leaves free."""
    framework_bytes: float
    communication_bytes: float = 0.0
    """Buffers of collectives."""
    graph_bytes: float = 0.0
    """Captured graphs of the device's work."""
    activation_bytes: float
    weights_bytes: float
    kv_pool_bytes: float
    kv_bytes_per_token: float
    """KV of one token on one rank."""
    state_bytes: float = 0.0
    """Fixed state of one sequence on one rank: linear attention and state space layers."""
    kv_tokens: float
    """Tokens whose KV the replica can hold."""


class Pool(Spec):
    """Identical replicas of one phase."""

    name: str
    phase: Phase = "mixed"
    deployment: Deployment | None = None
    """null when the user's own table replaces the model."""
    gpu: str
    gpus: Count
    """Devices of one replica."""
    count: Count
    """Replicas."""
    offer: str
    """Name of the offer whose nodes hold it."""
    profile: Mapping[str, float] | None = None
    """Requests/s of one replica for each bucket alone, from the user's own table."""


class Rental(Spec):
    """Nodes of one offer."""

    offer: str
    nodes: Count


class Handoff(Spec):
    """KV that goes from one pool to another."""

    from_pool: str
    to_pool: str
    link: str
    overlap: Fraction = 0.0


class Share(Spec):
    """The part of a bucket that a pool serves."""

    bucket: str
    pool: str
    share: Fraction


class Plan(Spec):
    """What to rent, how to cut the model, how to route; complete enough to be evaluated with nothing else."""

    fleet: Fleet
    models: Mapping[str, Model] = {}
    """Every model the fleet names, resolved."""
    buckets: tuple[Bucket, ...]
    offers: tuple[Offer, ...]
    """The offers that the pools are on."""
    rentals: tuple[Rental, ...]
    pools: tuple[Pool, ...]
    handoffs: tuple[Handoff, ...] = ()
    shares: tuple[Share, ...]
    policy: Policy = Policy()


class Cost(Spec):
    """Money. A month is 730 h. Each price per million tokens puts the whole bill on those tokens alone."""

    usd_per_hour: float
    usd_per_month: float
    usd_per_mtok_input: float | None
    usd_per_mtok_output: float | None
    usd_per_mtok_total: float | None
    usd_per_request: float | None = None
    price_dates: Mapping[str, date | None] = {}
    """Day of each provider's prices."""
    not_included: str = NOT_INCLUDED


class OperatorTime(Spec):
    """One operator of all layers in one step of one replica."""

    time_s: float
    share: float
    """Of the step."""
    flop: float
    """Of one device."""
    moved_bytes: float
    """To and from the memory of one device."""
    sent_bytes: float
    """Over the links of one device, one direction."""
    bound_by: Literal["compute", "hbm", "l2", "link", "latency", "host"]
    """latency: the datasheet allows less than a third of the time; l2: a faster L2 would help."""
    efficiency: float
    """Datasheet's least time over this one."""
    basis: Basis | None
    """None where no kernel is measured: the host."""
    error_p90: float | None
    """Percent by which nine in ten measured kernels of this basis miss at most."""


class PoolPrediction(Spec):
    """What one replica of a pool does under its share of the load."""

    memory: Memory | None = None
    capacity_requests_per_s: Predicted
    """Largest rate of one replica at the pool's mix of requests that keeps every bound."""
    load_requests_per_s: float
    """Arrivals at one replica."""
    capacity_concurrency: Predicted | None = None
    """The same in requests in flight; closed loop only."""
    utilization: float | None
    """Load over capacity; null: it cannot keep its bounds under any load."""
    concurrency: float | None = None
    """Mean requests in flight in one replica."""
    metrics: Mapping[str, Predicted] = {}
    """ttft_mean_s, tpot_mean_s and the bounded percentiles, over the pool's requests."""
    kv_use: float | None = None
    """Mean share of the KV pool in use."""
    kv_requests: float | None = None
    """Requests of mean length, prompt and answer, that the KV pools of one replica hold."""
    operators: Mapping[str, float] = {}
    """Share of each operator in the mean step."""
    steps: Mapping[Literal["decode", "chunk"], Mapping[str, OperatorTime]] = {}
    """Operators of a step without prefill, and of one with a chunk of the mean size; longest first."""
    step_mean_s: float | None = None
    fragile: bool = False
    """The KV pool is below a tenth of device memory: 1 GB of error costs a third of the throughput."""


class Optimality(Spec):
    """How good the mix is, and who says so."""

    status: Literal["optimal", "feasible", "not_applicable"]
    objective_usd_per_hour: float
    bound_usd_per_hour: float
    """No mix of these candidates can cost less."""
    gap: float
    """(objective - bound) / objective."""
    solver: str
    verified: bool
    """Every row was recomputed from the plan, outside the solver."""
    deterministic: bool = True
    scope: str = "over the enumerated candidates and their predicted capacities"


class Search(Spec):
    """How much was looked at."""

    candidates: int
    kept: int
    operating_points: int
    """(candidate, bucket, batch) evaluations."""
    offers: int
    rounds: int = 1
    """Solves until the re-evaluated plan kept every bound."""


class Excuse(Spec):
    """Why a candidate was dropped."""

    candidate: str
    reason: Literal["memory", "slo", "unsupported", "dominated", "price", "evidence"]
    message: str
    """Which bound, and by how much."""


class Alternative(Spec):
    """Another plan, and what it lacks."""

    name: str
    usd_per_hour: float | None
    replicas: Mapping[str, int] = {}
    nodes: Mapping[str, int] = {}
    reason: str = ""


class Nearest(Spec):
    """A change to the question that makes it feasible."""

    change: str
    usd_per_hour: float | None = None


class Infeasible(Spec):
    """No: the binding constraint, by how much, and the nearest feasible answers."""

    reason: str
    binding: str
    best_reachable: Mapping[str, str] = {}
    """The best value of each bounded metric on its own, and where."""
    nearest: tuple[Nearest, ...] = ()
    rejected: Mapping[str, int] = {}
    """Candidates dropped, by reason."""


class Finding(Spec):
    """What a check of the plan saw."""

    pool: str
    metric: str
    measured: float
    bound: float
    cause: Literal["queueing", "mixing", "chunk"]


class Provenance(Spec):
    """What the answer rests on."""

    llmplan_version: str
    catalog_hash: str
    fits_hash: str
    model_hash: str | None = None
    basis: Mapping[str, Basis] = {}
    """By GPU."""
    defaults: tuple[str, ...] = ()
    """Every default that was taken."""
    day: date | None = None
    """Day of the answer, against which the age of prices is counted."""
    prices_age_days: int | None = None
    """Age of the oldest prices of the plan; null: a day is unknown, or there is no plan."""
    origins: Mapping[str, str] = {}
    """Values that came from an option or the environment, and from which."""
    display_currency: str = "USD"
    """Currency of the tables; the plan and its figures are in USD."""
    display_per_usd: float = 1.0
    """How much of it the user says one USD is."""
    tpot_definition: str = "(end - first token) / (output_tokens - 1), one number a request"
    month_h: float = 730.0


Status = Literal["optimal", "feasible", "estimate", "infeasible", "slo_not_confirmed", "gap_not_reached"]


class Answer(Spec):
    """One answer, one document: what `recommend` and `estimate` print and every other command reads."""

    schema_version: Literal[1] = 1
    kind: Literal["plan", "estimate"]
    status: Status
    plan: Plan | None = None
    infeasible: Infeasible | None = None
    cost: Cost | None = None
    predicted: Mapping[str, Predicted] = {}
    """ttft_mean_s, tpot_mean_s, throughput and the bounded percentiles of the whole plan."""
    pools: Mapping[str, PoolPrediction] = {}
    optimality: Optimality | None = None
    search: Search | None = None
    alternatives: tuple[Alternative, ...] = ()
    excuses: tuple[Excuse, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Provenance

    def document(self) -> dict[str, Any]:
        """Return the answer as plain data: numbers in base units, keys in a fixed order."""
        return self.model_dump(mode="json")


def predicted_as(value: float, band: tuple[float, float], basis: Basis, method: Method) -> Predicted:
    """Return `value` with the band (low, high), both as factors of it."""
    return Predicted(value=value, low=value * band[0], high=value * band[1], basis=basis, method=method)
