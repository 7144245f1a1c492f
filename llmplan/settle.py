"""Which plan is settled on: solve, evaluate, lower what misses a bound, solve again.

A solver knows only the capacity of each replica type on each bucket alone. The plan it gives is evaluated at its own
mix of requests; a bound missed there is a `Finding`, and comes back as a lower capacity, five rounds at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmplan.evaluation import Evaluation, evaluate_plan
from llmplan.placing import dedicated, lowered, lowered_by, plan_of
from llmplan.plan.candidates import Candidate
from llmplan.plan.columns import Column, Limits, Mix, NoMix
from llmplan.plan.mix import cheapest_mix
from llmplan.plan.solver import Effort
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Offer
from llmplan.spec.model import Model
from llmplan.spec.plan import Plan
from llmplan.spec.readers import ProfileRow
from llmplan.spec.workload import Bucket, Fleet
from llmplan.units import HOURS_PER_MONTH

ROUNDS = 5
"""Solves of one question at most, the last resort aside."""

Progress = Callable[[str, str], None]


def silent(stage: str, said: str) -> None:
    """Take progress and say nothing."""
    del stage, said


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to look for the plan."""

    profile: tuple[ProfileRow, ...] = ()
    """A measured table that replaces the performance model."""
    slice_factor: int | None = None
    """Solve the published slice form (Mélange) with so many slices a bucket; only with a profile."""
    gap: float = 0.005
    node_limit: int | None = 2000
    """Branch-and-bound nodes: unlike seconds, the same on every machine."""
    time_limit_s: float | None = None
    allow_lossy: bool = False
    top: int = 12
    """Single-GPU-type plans shown beside the answer."""


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything a search starts from."""

    fleet: Fleet
    where: str
    catalog: Catalog
    options: Options
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What turns columns into plans: the question with everything its plans name."""

    setting: Setting
    buckets: tuple[Bucket, ...]
    offers: tuple[Offer, ...]
    models: Mapping[str, Model]
    candidates: Mapping[str, Candidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A plan, its evaluation, how many solves it took, and the bound of the first."""

    mix: Mix
    plan: Plan
    evaluation: Evaluation
    rounds: int
    bound_usd_per_hour: float

    @property
    def confirmed(self) -> bool:
        """Every pool keeps its bounds at its own mix of requests."""
        return not self.evaluation.findings


def settle(ground: Ground, columns: Sequence[Column], rounds: int = ROUNDS) -> Settled | NoMix:
    """Return the cheapest plan found whose pools keep their bounds at their own mix of requests.

    Each round solves and evaluates; a mixed pool that misses a bound has its capacity lowered. Beside the mixed
    columns stand dedicated ones, whose capacity is exact; a plan of those alone is the last resort.
    """
    alone = dedicated(columns, ground.buckets) if ground.candidates else []
    working = [*columns, *alone]
    best: Settled | None = None
    bound = 0.0
    for number in range(1, rounds + 1):
        answer = _round(ground, working, number, bound)
        if isinstance(answer, NoMix):
            return answer if best is None else best
        bound = answer.bound_usd_per_hour
        best = answer
        if answer.confirmed:
            break
        working = lowered(working, lowered_by(answer.evaluation))
    if best is not None and alone and (best.rounds > 1 or not best.confirmed):
        apart = _round(ground, alone, best.rounds + 1, bound)
        if isinstance(apart, Settled) and apart.confirmed:
            better = not best.confirmed or apart.mix.usd_per_hour < best.mix.usd_per_hour
            best = apart if better else replace(best, rounds=apart.rounds)
    return best or NoMix(reason="no solve was allowed", binding="rounds", served=0.0)


def settle_once(ground: Ground, columns: Sequence[Column]) -> Mix | NoMix:
    """Return the cheapest confirmed mix on some of the columns: mixed pools if they keep their bounds, or dedicated."""
    if len(ground.buckets) == 1:  # capacities are exact, there is nothing to confirm
        return _solve(columns, [b.load for b in ground.buckets], ground.setting)
    answer = settle(ground, columns, 1)
    return answer if isinstance(answer, NoMix) else answer.mix


def _round(ground: Ground, columns: Sequence[Column], number: int, bound: float) -> Settled | NoMix:
    """Solve once and evaluate the plan."""
    setting = ground.setting
    mix = _solve(columns, [b.load for b in ground.buckets], setting)
    if isinstance(mix, NoMix):
        return mix
    plan = plan_of(setting.fleet, columns, ground.buckets, mix, ground.offers, ground.models, ground.candidates)
    evaluation = evaluate_plan(plan, setting.catalog)
    said = f"{mix.usd_per_hour:.2f} USD/h, gap {100 * mix.gap:.1f} %, {len(evaluation.findings)} bounds missed"
    setting.progress("solve", said)
    first = mix.bound_usd_per_hour if number == 1 else bound
    return Settled(mix=mix, plan=plan, evaluation=evaluation, rounds=number, bound_usd_per_hour=first)


def _solve(columns: Sequence[Column], load: Sequence[float], setting: Setting) -> Mix | NoMix:
    options = setting.options
    if options.slice_factor is not None:
        from llmplan.plan.slices import cheapest_slices

        return cheapest_slices(columns, load, options.slice_factor, _effort(options))
    return cheapest_mix(
        columns,
        load,
        limits=_limits(setting.fleet),
        gap=0.0 if options.profile else options.gap,
        goals=("cost",) if options.profile or options.gap == 0 else setting.fleet.goals,
        effort=_effort(options),
    )


def _effort(options: Options) -> Effort:
    return Effort(node_limit=options.node_limit, time_limit_s=options.time_limit_s)


def _limits(fleet: Fleet) -> Limits:
    monthly = fleet.limits.usd_per_month
    money = [x for x in (fleet.limits.usd_per_hour, monthly / HOURS_PER_MONTH if monthly else None) if x is not None]
    return Limits(gpus=fleet.limits.gpus, usd_per_hour=min(money) if money else None)
