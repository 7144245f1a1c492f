"""What is the cheapest way to serve this traffic within its bounds?

The recipe: offers → candidates → capacities → mix → plan → evaluation; the last three are `settle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmplan.advice import infeasible
from llmplan.evaluation import Evaluation
from llmplan.freshness import AsOf
from llmplan.kernel_library import library_of
from llmplan.placing import cheapest_offers, columns_on
from llmplan.plan.candidates import (
    Candidate,
    Evaluated,
    Question,
    enumerate_candidates,
    excuses_of,
    kinds_of,
)
from llmplan.plan.columns import Column, Mix, NoMix
from llmplan.plan.dominance import undominated
from llmplan.profile import profile_columns, profile_fleet
from llmplan.provenance import provenance_of
from llmplan.remarks import defaults_of, no_evidence, plan_warnings, preliminary, solver_warnings, undated_left_out
from llmplan.resolve import check_runs, fitting_buckets, resolved_engine, resolved_model, study
from llmplan.settle import DEFAULT_OPTIONS, Ground, Options, Progress, Setting, settle, settle_once, silent
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import gpu_and_count
from llmplan.spec.hardware import Offer
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
from llmplan.spec.workload import Bucket, Fleet
from llmplan.support import check_searched, check_supported, offer_filter

GAP_TOLERANCE = 1e-9
"""A gap this little above what was asked is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to: a plan with its evaluation, or none; and all it looked at."""

    plan: Plan | None
    mix: Mix | NoMix
    evaluation: Evaluation | None
    columns: tuple[Column, ...]
    evaluated: Evaluated | None
    kept: tuple[int, ...] = ()
    """Rows of `evaluated` that no other candidate dominates."""
    unmeasured: frozenset[str] = frozenset()
    """GPUs that may not win."""
    offers: tuple[Offer, ...]
    """All that may be rented, each node in its cheapest region, the dearer ones of a kind included."""
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
    as_of: AsOf | None = None,
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
    as_of : AsOf, optional
        Day against which the age of prices is counted; today if left out.

    Raises
    ------
    LlmplanError
        A name is unknown, a field is not supported, or no solver answers.
    """
    as_of = as_of or AsOf()
    check_searched(fleet, options.slice_factor is not None, where)
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
        offers=found.plan.offers if found.plan else (),
        as_of=as_of,
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
        warnings=(*found.warnings, *solver_warnings(found.mix), *plan_warnings(found.plan, evaluation, catalog, as_of)),
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
    check_runs(engine, model, catalog, setting.where)
    allowed, others = catalog.cheapest_regions(offer_filter(fleet))
    offers, dearer = cheapest_offers(allowed, others)
    setting.progress("load", f"{model.hf_id}, the {len(offers)} cheapest of {len(allowed) + others.total()} offers")
    kinds = kinds_of(offers, {o.node.gpu: catalog.gpu(o.node.gpu) for o in offers})
    question = Question(model=model, engine=engine, wanted=workload.deployment, allow_lossy=setting.options.allow_lossy)
    candidates, unsupported = enumerate_candidates(question, kinds)
    candidates = _of_wanted_size(candidates, workload.deployment.gpu)
    buckets = fitting_buckets(workload, model, setting.where)
    studied = study(candidates, model, engine, buckets, workload.traffic, catalog) if candidates else None
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
        kept=tuple(kept),
        unmeasured=unmeasured,
        offers=tuple(allowed),
        buckets=tuple(buckets),
        excuses=(*excuses, *dominated),
        search=Search(
            candidates=len(candidates),
            kept=len(kept),
            operating_points=studied.operating_points if studied else 0,
            offers=len(offers),
        ),
        defaults=(*defaults, *defaults_of(fleet), *undated_left_out(fleet, catalog)),
        warnings=(*warnings, *preliminary((o.node.gpu for o in allowed), catalog)),
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


def _unmeasured(setting: Setting, columns: Sequence[Column]) -> frozenset[str]:
    """Return the GPUs that may not win: never measured, nor their family, not named, and measured ones are at hand."""
    named = setting.fleet.offers.gpus or setting.fleet.offers.nodes or setting.fleet.workloads[0].deployment.gpu
    if named or setting.fleet.workloads[0].deployment.offer:
        return frozenset()
    catalog = setting.catalog
    gpus = {c.gpu for c in columns}
    library = library_of(catalog)
    unmeasured = frozenset(gpu for gpu in gpus if library.basis(catalog.gpu(gpu)) == "datasheet")
    return unmeasured if unmeasured < gpus else frozenset()


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


def _of_wanted_size(candidates: list[Candidate], wanted: str | None) -> list[Candidate]:
    count = gpu_and_count(wanted)[1] if wanted else None
    return [c for c in candidates if count is None or c.deployment.gpus == count]


def _settled(found: Found, ground: Ground, columns: Sequence[Column]) -> Found:
    """Return what was found with the plan on some of its columns, or why there is none."""
    answer = settle(ground, columns)
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
    used = {pool.gpu for pool in found.plan.pools} if found.plan else set()
    rows = []
    for gpu in sorted({c.gpu for c in found.columns}):
        own = used == {gpu}
        answer = mix if own else settle_once(quiet, [c for c in found.columns if c.gpu == gpu])
        rows.append(_alternative(gpu, answer, gpu in found.unmeasured))
    for provider, columns in _by_provider(found, mix).items():
        sure = [c for c in columns if c.gpu not in found.unmeasured]
        if sure:
            rows.append(_alternative(provider, settle_once(quiet, sure), False))
    rows.sort(key=lambda a: (a.usd_per_hour is None, a.usd_per_hour or 0.0, a.name))
    return tuple(rows[: options.top])


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
    columns = {}
    for provider in sorted({o.provider for o in found.offers}):
        offers, _ = cheapest_offers([o for o in found.offers if o.provider == provider])
        columns[provider] = columns_on(found.evaluated, found.kept, offers)
    return columns


def _why_not(setting: Setting, found: Found) -> Infeasible:
    return infeasible(setting.fleet, found, lambda fleet, lossy: _retry(setting, fleet, lossy), setting.catalog)


def _retry(setting: Setting, fleet: Fleet, allow_lossy: bool) -> Found:
    options = replace(setting.options, allow_lossy=allow_lossy or setting.options.allow_lossy)
    return search(replace(setting, fleet=fleet, options=options, progress=silent))
