"""What is the cheapest way to serve this traffic within its bounds?

The recipe: offers → candidates → capacities → mix → plan → evaluation. A bound that the evaluated plan misses comes
back as a `Finding`; the pool's capacity is lowered and the mix solved again, five rounds at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmplan.advice import infeasible
from llmplan.evaluation import Evaluation, evaluate_plan
from llmplan.perf.replica import replica_cost, requests_of
from llmplan.placing import cheapest_offers, columns_on, dedicated, lowered, lowered_by, plan_of
from llmplan.plan.candidates import (
    Candidate,
    Evaluated,
    Question,
    enumerate_candidates,
    evaluate,
    excuses_of,
    kinds_of,
)
from llmplan.plan.columns import Column, Limits, Mix, NoMix
from llmplan.plan.dominance import undominated
from llmplan.plan.mix import cheapest_mix
from llmplan.plan.solver import Effort
from llmplan.profile import profile_columns, profile_fleet
from llmplan.provenance import provenance_of
from llmplan.remarks import defaults_of, no_evidence, plan_warnings, solver_warnings
from llmplan.resolve import as_replicas, fits_for, fitting_buckets, resolved_engine, resolved_model
from llmplan.spec.catalog import Catalog
from llmplan.spec.engine import Engine
from llmplan.spec.hardware import Offer
from llmplan.spec.model import Model
from llmplan.spec.plan import (
    Alternative,
    Answer,
    Excuse,
    Infeasible,
    Optimality,
    Plan,
    Search,
    Status,
)
from llmplan.spec.readers import ProfileRow
from llmplan.spec.workload import Bucket, Fleet
from llmplan.support import check_supported, gpu_and_count, offer_filter

ROUNDS = 5
GAP_TOLERANCE = 1e-9
"""A gap this little above what was asked is rounding."""

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
class Found:
    """What a search came to: a plan with its evaluation, or none; and all it looked at."""

    plan: Plan | None
    mix: Mix | NoMix
    evaluation: Evaluation | None
    columns: tuple[Column, ...]
    evaluated: Evaluated | None
    offers: tuple[Offer, ...]
    """All that may be rented, the dearer ones of a kind included."""
    buckets: tuple[Bucket, ...]
    excuses: tuple[Excuse, ...]
    search: Search
    defaults: tuple[str, ...]
    warnings: tuple[str, ...]
    ground: Ground | None = None
    first_bound_usd_per_hour: float = 0.0
    """Bound of the first solve, before any capacity was lowered."""


def recommend_plan(
    fleet: Fleet,
    catalog: Catalog,
    options: Options = DEFAULT_OPTIONS,
    where: str = "fleet",
    origins: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> Answer:
    """Return the cheapest plan that keeps every bound, or why there is none.

    Parameters
    ----------
    fleet : Fleet
        One workload; what may be rented, and limits.
    where : str
        Name of the question for messages.
    origins : mapping, optional
        Fields that came from an option or the environment.

    Raises
    ------
    LlmplanError
        A name is unknown, a field is not supported, or no solver answers.
    """
    if options.profile:
        fleet = profile_fleet(fleet, options.profile, where)
    setting = Setting(fleet=fleet, where=where, catalog=catalog, options=options, progress=progress)
    found = search(setting)
    provenance = provenance_of(
        catalog,
        models=found.plan.models if found.plan else {},
        basis=found.evaluation.basis if found.evaluation else {},
        defaults=found.defaults,
        origins=origins or {},
    )
    if found.plan is None or found.evaluation is None or isinstance(found.mix, NoMix):
        return Answer(
            kind="plan",
            status="infeasible",
            infeasible=_why_not(setting, found),
            search=found.search,
            excuses=found.excuses,
            warnings=found.warnings,
            provenance=provenance,
        )
    evaluation = found.evaluation
    return Answer(
        kind="plan",
        status=_status(found, found.mix, options.gap),
        plan=found.plan,
        cost=evaluation.cost,
        predicted=evaluation.predicted,
        pools=evaluation.pools,
        optimality=_optimality(found, found.mix, options),
        search=found.search,
        alternatives=_alternatives(found),
        excuses=found.excuses,
        findings=evaluation.findings,
        warnings=(*found.warnings, *solver_warnings(found.mix), *plan_warnings(found.plan, evaluation)),
        provenance=provenance,
    )


def search(setting: Setting) -> Found:
    """Return the plan of one search and everything it looked at, without alternatives or advice."""
    if setting.options.profile:
        return _search_profile(setting)
    check_supported(setting.fleet, setting.where)
    fleet, catalog = setting.fleet, setting.catalog
    workload = fleet.workloads[0]
    model, warnings = resolved_model(workload, catalog, setting.where)
    engine, defaults = resolved_engine(workload, catalog)
    allowed = catalog.offers(offer_filter(fleet))
    offers, dearer = cheapest_offers(allowed)
    setting.progress("load", f"{model.hf_id}, the {len(offers)} cheapest of {len(allowed)} offers")
    kinds = kinds_of(offers, {o.node.gpu: catalog.gpu(o.node.gpu) for o in offers})
    question = Question(model=model, engine=engine, wanted=workload.deployment, allow_lossy=setting.options.allow_lossy)
    candidates, unsupported = enumerate_candidates(question, kinds)
    candidates = _of_wanted_size(candidates, workload.deployment.gpu)
    buckets = fitting_buckets(workload, model, setting.where)
    studied = _study(candidates, model, engine, buckets, setting) if candidates else None
    excuses = [*unsupported, *dearer, *(excuses_of(studied, buckets) if studied else [])]
    kept, dominated = undominated(studied) if studied else ([], [])
    columns = columns_on(studied, kept, offers) if studied else []
    unmeasured = _unmeasured(setting, columns)
    excuses += [no_evidence(gpu) for gpu in sorted(unmeasured)]
    setting.progress("enumerate", f"{len(candidates)} candidates, {len(kept)} kept, {len(columns)} ways to place them")
    found = Found(
        plan=None,
        mix=NoMix(reason="no candidate can serve this model", binding="candidates", served=0.0),
        evaluation=None,
        columns=tuple(columns),
        evaluated=studied,
        offers=tuple(allowed),
        buckets=tuple(buckets),
        excuses=(*excuses, *dominated),
        search=Search(
            candidates=len(candidates),
            kept=len(kept),
            operating_points=studied.operating_points if studied else 0,
            offers=len(offers),
        ),
        defaults=(*defaults, *defaults_of(fleet)),
        warnings=tuple(warnings),
    )
    ground = Ground(
        setting=setting,
        buckets=found.buckets,
        offers=found.offers,
        models={model.name: model},
        candidates={c.name: c for c in candidates},
    )
    found = replace(found, ground=ground)
    return _settled(found, ground, [c for c in columns if c.gpu not in unmeasured]) if columns else found


def _unmeasured(setting: Setting, columns: Sequence[Column]) -> set[str]:
    """Return the GPUs that may not win: never measured, nor their family, not named, and measured ones are at hand."""
    named = setting.fleet.offers.gpus or setting.fleet.offers.nodes or setting.fleet.workloads[0].deployment.gpu
    if named or setting.fleet.workloads[0].deployment.offer:
        return set()
    catalog = setting.catalog
    gpus = {c.gpu for c in columns}
    unmeasured = {gpu for gpu in gpus if fits_for(catalog.gpu(gpu), catalog)[1] == "datasheet"}
    return unmeasured if unmeasured < gpus else set()


def _search_profile(setting: Setting) -> Found:
    columns, offers, buckets = profile_columns(setting.fleet, setting.options.profile, setting.where)
    found = Found(
        plan=None,
        mix=NoMix(reason="the table serves nothing", binding="profile", served=0.0),
        evaluation=None,
        columns=tuple(columns),
        evaluated=None,
        offers=tuple(offers),
        buckets=tuple(buckets),
        excuses=(),
        search=Search(
            candidates=len(columns), kept=len(columns), operating_points=len(columns) * len(buckets), offers=len(offers)
        ),
        defaults=("method: utilization 1, gap 0, no simulation (a measured table replaces the model)",),
        warnings=("the buckets of a measured table are cut by output length too, which no router can see",),
    )
    ground = Ground(setting=setting, buckets=found.buckets, offers=found.offers, models={}, candidates={})
    return _settled(replace(found, ground=ground), ground, columns)


def _study(
    candidates: Sequence[Candidate], model: Model, engine: Engine, buckets: Sequence[Bucket], setting: Setting
) -> Evaluated:
    traffic = setting.fleet.workloads[0].traffic
    closed = traffic.concurrency is not None
    cost = replica_cost(as_replicas(candidates, model, engine, setting.catalog))
    requests = requests_of(buckets, cost.window_tokens, 0.0 if closed else traffic.arrivals.gap_cv, closed)
    return evaluate(candidates, cost, requests, buckets, closed)


def _of_wanted_size(candidates: list[Candidate], wanted: str | None) -> list[Candidate]:
    count = gpu_and_count(wanted)[1] if wanted else None
    return [c for c in candidates if count is None or c.deployment.gpus == count]


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


def _settled(found: Found, ground: Ground, columns: Sequence[Column]) -> Found:
    """Return what was found with the plan on some of its columns, or why there is none."""
    answer = settle(ground, columns, ROUNDS)
    if isinstance(answer, NoMix):
        return replace(found, mix=answer)
    return replace(
        found,
        mix=answer.mix,
        plan=answer.plan,
        evaluation=answer.evaluation,
        search=found.search.model_copy(update={"rounds": answer.rounds}),
        first_bound_usd_per_hour=answer.bound_usd_per_hour,
    )


def settle(ground: Ground, columns: Sequence[Column], rounds: int) -> Settled | NoMix:
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
    if (best is not None and best.rounds > 1) or (best is not None and not best.confirmed):
        apart = _round(ground, alone, best.rounds + 1, bound) if alone else None
        if isinstance(apart, Settled) and apart.confirmed:
            better = not best.confirmed or apart.mix.usd_per_hour < best.mix.usd_per_hour
            best = apart if better else replace(best, rounds=apart.rounds)
    return best or NoMix(reason="no solve was allowed", binding="rounds", served=0.0)


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
    from llmplan.units import HOURS_PER_MONTH

    monthly = fleet.limits.usd_per_month
    money = [x for x in (fleet.limits.usd_per_hour, monthly / HOURS_PER_MONTH if monthly else None) if x is not None]
    return Limits(gpus=fleet.limits.gpus, usd_per_hour=min(money) if money else None)


def _status(found: Found, mix: Mix, gap: float) -> Status:
    if found.evaluation is not None and found.evaluation.findings:
        return "slo_not_confirmed"
    if mix.status == "feasible" and mix.gap > gap + GAP_TOLERANCE:
        return "gap_not_reached"
    return "feasible" if found.search.rounds > 1 else mix.status


def _optimality(found: Found, mix: Mix, options: Options) -> Optimality:
    """Return the proof. After a tightened round the bound is the first round's: each bucket priced alone."""
    repriced = found.search.rounds > 1
    bound = min(found.first_bound_usd_per_hour, mix.usd_per_hour)
    if options.slice_factor is not None:
        scope = f"over assignments of {options.slice_factor} whole slices a bucket"
    elif repriced:
        scope = "over the enumerated candidates, each bucket priced alone; the plan keeps the bounds of mixed requests"
    else:
        scope = "over the enumerated candidates and their predicted capacities"
    return Optimality(
        status="feasible" if repriced else mix.status,
        objective_usd_per_hour=mix.usd_per_hour,
        bound_usd_per_hour=bound,
        gap=1 - bound / mix.usd_per_hour if mix.usd_per_hour > 0 else 0.0,
        solver=mix.solver,
        verified=mix.verified,
        deterministic=options.time_limit_s is None,
        scope=scope,
    )


def _alternatives(found: Found) -> tuple[Alternative, ...]:
    """Return the cheapest plan on each GPU type and, of a plan over several providers, on each provider alone."""
    mix, ground = found.mix, found.ground
    if isinstance(mix, NoMix) or ground is None:
        return ()
    options = ground.setting.options
    if options.slice_factor is not None or options.top == 0:
        return ()
    cheapest = ground.setting.fleet.model_copy(update={"goals": ("cost",)})
    quiet = replace(ground, setting=replace(ground.setting, fleet=cheapest, progress=silent))
    unmeasured = _unmeasured(ground.setting, found.columns) if found.evaluated else set()
    used = {pool.gpu for pool in found.plan.pools} if found.plan else set()
    rows = []
    for gpu in sorted({c.gpu for c in found.columns}):
        own = used == {gpu}
        answer = mix if own else _on_less(quiet, [c for c in found.columns if c.gpu == gpu])
        rows.append(_alternative(gpu, answer, gpu in unmeasured))
    for provider, columns in _by_provider(found, mix).items():
        sure = [c for c in columns if c.gpu not in unmeasured]
        if sure:
            rows.append(_alternative(provider, _on_less(quiet, sure), False))
    rows.sort(key=lambda a: (a.usd_per_hour is None, a.usd_per_hour or 0.0, a.name))
    return tuple(rows[: options.top])


def _on_less(ground: Ground, columns: Sequence[Column]) -> Mix | NoMix:
    """Return the cheapest confirmed mix on some of the columns: mixed pools if they keep their bounds, or dedicated."""
    if len(ground.buckets) == 1:  # capacities are exact, there is nothing to confirm
        return _solve(columns, [b.load for b in ground.buckets], ground.setting)
    answer = settle(ground, columns, 1)
    return answer if isinstance(answer, NoMix) else answer.mix


def _alternative(name: str, answer: Mix | NoMix, unmeasured: bool) -> Alternative:
    if isinstance(answer, NoMix):
        return Alternative(name=name, usd_per_hour=None, reason=answer.reason)
    return Alternative(
        name=name,
        usd_per_hour=answer.usd_per_hour,
        replicas=dict(answer.replicas),
        nodes=dict(answer.nodes),
        reason="datasheet figures only: not chosen unless offers.gpus names it" if unmeasured else "",
    )


def _by_provider(found: Found, mix: Mix) -> dict[str, list[Column]]:
    """Return the columns on each provider's own cheapest offers, when the plan spans several providers."""
    providers = {name.split("/")[0] for name in mix.nodes}
    if len(providers) < 2 or found.evaluated is None:
        return {}
    kept = undominated(found.evaluated)[0]
    columns = {}
    for provider in sorted({o.provider for o in found.offers}):
        offers, _ = cheapest_offers([o for o in found.offers if o.provider == provider])
        columns[provider] = columns_on(found.evaluated, kept, offers)
    return columns


def _why_not(setting: Setting, found: Found) -> Infeasible:
    return infeasible(setting.fleet, found, lambda fleet, lossy: _retry(setting, fleet, lossy))


def _retry(setting: Setting, fleet: Fleet, allow_lossy: bool) -> Found:
    options = replace(setting.options, allow_lossy=allow_lossy or setting.options.allow_lossy)
    return search(replace(setting, fleet=fleet, options=options, progress=silent))
