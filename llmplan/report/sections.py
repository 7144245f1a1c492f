"""An answer as sections of short rows: what every text format prints.

Money has two decimals, other figures three significant digits; times and sizes are in handy units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmplan.report.currency import USD, Currency
from llmplan.spec.plan import AT, Alternative, Answer, OperatorTime, Plan, Pool, PoolPrediction, Predicted
from llmplan.spec.workload import Bucket
from llmplan.units import brief, significant

MOST_EXCUSES = 12
SMALLEST_GAP = 1e-6
SMALLEST_SHARE = 0.005
"""Operators of less are not shown."""
PEAK_AND_P90 = (
    "peak: datasheet's least time over this one; bytes of memory, or sent over links",
    "P90: nine in ten kernels like it miss by less; * by rows of another GPU, ** of none",
)
MUCH_DEARER = 3.0
"""From so many times the cost on, an alternative is compared by that factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A title, lines of text, and a table; any of them may be empty."""

    title: str = ""
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: frozenset[int] = frozenset()
    """Columns of numbers."""
    wrap: frozenset[int] = frozenset()
    """Columns that may be folded when the terminal is narrow."""
    after: tuple[str, ...] = ()
    """Lines below the table."""


def sections_of(answer: Answer, explain: bool = False, wide: bool = False, currency: Currency = USD) -> list[Section]:
    """Return the sections of an answer, most wanted first."""
    no = answer.infeasible is not None
    found = [*(_infeasible(answer, currency) if no else _plan_sections(answer, wide, currency))]
    if explain:
        found += [*_explanation(answer)]
    found += [*_notes(answer, explain)]
    return found


def gap_percent(gap: float) -> str:
    """Return a gap in percent; rounding errors are 0."""
    return f"{100 * gap:.2g} %" if gap > SMALLEST_GAP else "0 %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"


def asked_for(plan: Plan) -> str:
    """Return what a plan serves, in one line."""
    workload = plan.fleet.workloads[0]
    model = workload.model or "a measured table"
    buckets = plan.buckets
    load = sum(b.load for b in buckets)
    unit = "requests/s" if buckets[0].requests_per_s is not None else "in flight"
    lengths = f"{_mean(buckets, 'input_tokens')} in / {_mean(buckets, 'output_tokens')} out"
    return f"{model} ({_round(load)} {unit}, {lengths})"


def _round(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _mean(buckets: Sequence[Bucket], field: str) -> str:
    load = sum(b.load for b in buckets)
    return f"{sum(b.load * getattr(b, field) for b in buckets) / load:,.0f}"


def _plan_sections(answer: Answer, wide: bool, currency: Currency) -> Iterator[Section]:
    plan, cost = answer.plan, answer.cost
    if plan is None or cost is None:
        return
    lead = "Cheapest plan" if answer.kind == "plan" else "Estimate"
    bill = f"{currency.money(cost.usd_per_hour)}/h · {currency.money(cost.usd_per_month)}/month"
    yield Section(
        title=f"{lead} for {asked_for(plan)}",
        lines=(f"{bill} · {_proof(answer)}",),
    )
    yield _rent(plan, wide, currency)
    yield _pools(answer, plan)
    yield _shares(plan)
    yield from _predictions(answer)
    per = [("input", cost.usd_per_mtok_input), ("output", cost.usd_per_mtok_output), ("total", cost.usd_per_mtok_total)]
    prices = " · ".join(f"{name} {currency.small(usd)}" for name, usd in per if usd is not None)
    dates = ", ".join(f"{p} {d.isoformat() if d else 'undated'}" for p, d in cost.price_dates.items())
    yield Section(
        title="Cost",
        lines=(
            *((f"per 1M tokens: {prices} (each bears the whole bill)",) if prices else ()),
            f"not included: {cost.not_included}",
            f"prices of: {dates}",
            *((currency.note,) if currency.note else ()),
        ),
    )
    if answer.alternatives:
        yield _alternatives(answer, cost.usd_per_hour, currency)


def _proof(answer: Answer) -> str:
    proof = answer.optimality
    if proof is None:
        return "steady state of a fixed deployment"
    how = "each bucket priced alone" if answer.search and answer.search.rounds > 1 else "plan re-checked"
    said = f"{proof.status}, gap {gap_percent(proof.gap)} ({proof.solver}, {how})"
    return said if answer.status != "slo_not_confirmed" else f"{said}; bounds NOT kept"


def _rent(plan: Plan, wide: bool, currency: Currency) -> Section:
    offers = {o.name: o for o in plan.offers}
    rows = []
    for rental in plan.rentals:
        offer = offers[rental.offer]
        gpus = f"{rental.nodes * offer.node.gpus} {offer.node.gpu}"
        name = f"{offer.provider} {offer.node.name}"
        place = f"{offer.region} {offer.market}"
        date = (offer.snapshot.isoformat() if offer.snapshot else "-",) if wide else ()
        rows.append((str(rental.nodes), name, place, gpus, currency.amount(rental.nodes * offer.usd_per_hour), *date))
    header = ("nodes", "rent", "region, market", "GPUs", f"{currency.code}/h", *(("price of",) if wide else ()))
    return Section(header=header, rows=tuple(rows), right=frozenset({0, 4}), wrap=frozenset({1, 2}))


def _pools(answer: Answer, plan: Plan) -> Section:
    rows = []
    for pool in plan.pools:
        told = answer.pools[pool.name]
        ttft, tpot = (_shown(told, name) for name in ("ttft", "tpot"))
        rows.append((str(pool.count), *_cut(pool), *_load(told), ttft, tpot))
    header = ("replicas", "layout", "formats", "load", "head-room", "TTFT", "TPOT")
    return Section(header=header, rows=tuple(rows), right=frozenset({0, 3, 4, 5, 6}), wrap=frozenset({1}))


def _load(told: PoolPrediction) -> tuple[str, str]:
    """Return load over capacity and what is left of it; an overloaded pool has nothing left."""
    if told.utilization is None:
        return "over", "none"
    spare = 1 - told.utilization
    return _percent(told.utilization), _percent(spare) if spare >= 0 else "none"


def _cut(pool: Pool) -> tuple[str, str]:
    if pool.deployment is None:
        return pool.gpu, "as measured"
    stage = pool.deployment.stage
    kv = pool.deployment.kv_dtype
    return f"{pool.gpu} {stage.layout}", f"{stage.weight_dtype}, KV {kv}"


def _shown(told: PoolPrediction, metric: str) -> str:
    """Return the percentile of a metric as people read it."""
    for name, predicted in told.metrics.items():
        if name.startswith(f"{metric}_p") and predicted.value is not None:
            return f"{brief(predicted.value, 's')} {name.split('_')[1]}"
    return "-"


def _shares(plan: Plan) -> Section:
    if len(plan.pools) == 1 and len(plan.buckets) == 1:
        return Section()
    short = {
        pool.name: _cut(pool)[0] + ("" if pool.deployment is None else f"{AT}{pool.offer.split('/')[1]}")
        for pool in plan.pools
    }
    rows = []
    for bucket in plan.buckets:
        parts = [f"{100 * s.share:.3g} % {short[s.pool]}" for s in plan.shares if s.bucket == bucket.name]
        rate = f"{significant(bucket.load)}/s" if bucket.requests_per_s is not None else significant(bucket.load)
        rows.append((bucket.name, rate, ", ".join(parts)))
    return Section(header=("bucket", "load", "routing"), rows=tuple(rows), right=frozenset({1}), wrap=frozenset({0, 2}))


def _predictions(answer: Answer) -> Iterator[Section]:
    bounds: dict[str, float] = {}
    for bucket in answer.plan.buckets if answer.plan else ():
        for metric, bound in bucket.slo.bounds().items():
            for owner in ("", f"{bucket.traffic_class}."):
                bounds[f"{owner}{metric}_{bound.label}_s"] = bound.bound_s
    rows, lines = [], []
    for name, predicted in answer.predicted.items():
        if name.endswith("_s") and name.split(".")[-1].split("_")[0] in ("ttft", "tpot", "e2e"):
            if predicted.value is None:
                lines.append(f"{_metric_label(name)}: no value ({predicted.reason})")
            else:
                rows.append((_metric_label(name), *_prediction(predicted, bounds.get(name))))
    rate = answer.predicted.get("tokens_per_s")
    if rate is not None and rate.value is not None:
        rows.append(("output tokens/s", significant(rate.value), "", "", rate.basis or "", _method(rate)))
    header = ("predicted", "value", "bound", "band", "basis", "method")
    right = frozenset({1, 2, 3})
    starred = any(p.method == "approximation" for p in answer.predicted.values())
    note = ("* a queueing approximation, not simulated; bands cover the model's error only",) if starred else ()
    yield Section(lines=tuple(lines), header=header, rows=tuple(rows), right=right, wrap=frozenset({0}), after=note)


def _metric_label(name: str) -> str:
    owner, _, rest = name.rpartition(".")
    metric, which, _ = rest.split("_")
    return f"{owner} {metric.upper()} {which}".strip()


def _prediction(predicted: Predicted, bound_s: float | None) -> tuple[str, ...]:
    low, high = predicted.low or 0.0, predicted.high or 0.0
    return (
        brief(predicted.value or 0.0, "s"),
        brief(bound_s, "s") if bound_s is not None else "",
        f"{brief(low, 's')} - {brief(high, 's')}",
        predicted.basis or "",
        _method(predicted),
    )


def _method(predicted: Predicted) -> str:
    words = {"approximation": "approximation*", "steady_state": "steady state"}
    return words.get(predicted.method or "", predicted.method or "")


def _alternatives(answer: Answer, usd_per_hour: float, currency: Currency) -> Section:
    rows = []
    priced = [other for other in answer.alternatives if other.usd_per_hour is not None]
    for other in answer.alternatives:
        if other.usd_per_hour is None:
            rows.append((other.name, "-", "-", other.reason))
            continue
        more = _compared(other.usd_per_hour, usd_per_hour)
        replicas = ", ".join(f"{n} x {name}" for name, n in _by_deployment(other).items())
        name = other.name + ("*" if other.reason else "")
        rows.append((name, currency.amount(other.usd_per_hour), more, replicas))
    return Section(
        title="Cheapest plans on less",
        lines=tuple(f"* {reason}" for reason in dict.fromkeys(a.reason for a in priced if a.reason)),
        header=("only", f"{currency.code}/h", "", "replicas"),
        rows=tuple(rows),
        right=frozenset({1, 2}),
        wrap=frozenset({3}),
    )


def _compared(usd: float, base_usd: float) -> str:
    if base_usd <= 0:
        return ""
    times = usd / base_usd
    return f"{100 * (times - 1):+.1f} %" if times < MUCH_DEARER else f"x {times:,.0f}"


def _by_deployment(other: Alternative) -> dict[str, int]:
    """Return replicas by deployment, whatever offers they are on; the GPU is left out where it names the plan."""
    counts: Counter[str] = Counter()
    for name, count in other.replicas.items():
        counts[name.split(AT)[0].removeprefix(f"{other.name}-")] += count
    return dict(counts)


def _infeasible(answer: Answer, currency: Currency) -> Iterator[Section]:
    no = answer.infeasible
    if no is None:
        return
    yield Section(title=f"infeasible: {no.reason}", lines=(f"binding constraint: {no.binding}",))
    if no.best_reachable:
        rows = tuple((name, value) for name, value in no.best_reachable.items())
        yield Section(header=("best reachable alone", "without load"), rows=rows, wrap=frozenset({1}))
    priced = tuple(
        (n.change, f"{currency.money(n.usd_per_hour)}/h" if n.usd_per_hour is not None else "fits") for n in no.nearest
    )
    if priced:
        yield Section(header=("nearest feasible", "costs"), rows=priced, right=frozenset({1}), wrap=frozenset({0}))
    elif answer.kind == "plan":
        yield Section(lines=("nearest feasible: none found by changing one thing",))
    if no.rejected:
        said = " · ".join(f"{count} {reason}" for reason, count in no.rejected.items())
        yield Section(lines=(f"rejected: {said}",))


def _explanation(answer: Answer) -> Iterator[Section]:
    for name, told in answer.pools.items():
        if told.operators:
            said = " · ".join(f"{op} {_percent(s)}" for op, s in told.operators.items() if s >= SMALLEST_SHARE)
            step = brief(told.step_mean_s or 0.0, "s")
            yield Section(title=f"Time of the mean step of {name}", lines=(f"{step}: {said}",))
            yield from _operators(name, told)
        if told.memory is not None:
            yield _memory(name, told)
    proof = answer.optimality
    if proof is not None:
        yield Section(
            title="Proof",
            lines=(
                f"objective {proof.objective_usd_per_hour:.6g} USD/h, bound {proof.bound_usd_per_hour:.6g} USD/h",
                proof.scope,
            ),
        )
    if answer.excuses:
        yield _excuses(answer)
    if answer.provenance.origins:
        rows = tuple(answer.provenance.origins.items())
        yield Section(header=("value", "set by"), rows=rows)


def _operators(name: str, told: PoolPrediction) -> Iterator[Section]:
    """Yield the operators of a step without prefill, and of one with a chunk."""
    for kind, title in (("decode", "without prefill"), ("chunk", "with a prefill chunk")):
        operators = told.steps.get(kind, {})  # type: ignore[call-overload]
        rows = [_operator(operator, one) for operator, one in operators.items() if one.share >= SMALLEST_SHARE]
        if rows:
            yield Section(
                title=f"A step {title} of {name}, one GPU",
                header=("operator", "share", "time", "FLOP", "bytes", "bound by", "peak", "P90"),
                rows=tuple(rows),
                right=frozenset(range(1, 5)) | {6, 7},
                wrap=frozenset({0}),
            )
    if told.steps:
        yield Section(lines=PEAK_AND_P90)


def _operator(name: str, one: OperatorTime) -> tuple[str, ...]:
    moved = one.moved_bytes or one.sent_bytes
    mark = {"transferred": "*", "datasheet": "**"}.get(one.basis or "", "")
    return (
        name,
        _percent(one.share),
        brief(one.time_s, "s"),
        brief(one.flop, "FLOP").removesuffix("FLOP") if one.flop else "",
        brief(moved, "B").removesuffix("B") if moved else "",
        one.bound_by,
        _percent(one.efficiency),
        f"{one.error_p90:.0f} %{mark}" if one.error_p90 is not None else mark,
    )


def _memory(name: str, told: PoolPrediction) -> Section:
    memory = told.memory
    if memory is None:
        return Section()
    parts = ("reserved", "framework", "communication", "graph", "activation", "weights", "kv_pool")
    rows = tuple(
        (part.replace("_", " "), brief(size, "B"), _percent(size / memory.device_bytes))
        for part in parts
        for size in [getattr(memory, f"{part}_bytes")]
        if size
    )
    said = f"{memory.kv_tokens:,.0f} tokens of KV in the replica, {_percent(told.kv_use or 0)} in use on average"
    if memory.state_bytes:
        said += f"; {brief(memory.state_bytes, 'B')} of the pool for the state of each sequence"
    return Section(
        title=f"Memory of one GPU of {name}",
        lines=(said,),
        header=("part", "size", "share"),
        rows=rows,
        right=frozenset({1, 2}),
    )


def _excuses(answer: Answer) -> Section:
    counts = Counter(excuse.reason for excuse in answer.excuses)
    first: dict[tuple[str, str], str] = {}
    for excuse in answer.excuses:
        key = (excuse.reason, excuse.candidate.split("-tp")[0].split("-pp")[0])
        first.setdefault(key, f"{excuse.candidate}: {excuse.message}")
    rows = tuple((reason, text) for (reason, _), text in sorted(first.items()))
    total = " · ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
    return Section(
        title=f"Dropped: {total}",
        header=("reason", "for example"),
        rows=rows[:MOST_EXCUSES],
        wrap=frozenset({1}),
    )


def _notes(answer: Answer, explain: bool) -> Iterator[Section]:
    if answer.warnings:
        yield Section(title="Warnings", lines=answer.warnings)
    if explain:
        p = answer.provenance
        hashes = f"llmplan {p.llmplan_version} · catalog {p.catalog_hash} · fits {p.fits_hash}"
        yield Section(title="Provenance", lines=(hashes, f"TPOT: {p.tpot_definition}"))
