"""When the answer is no: which constraint binds, by how much, and the nearest questions that have an answer.

Every proposal is solved, never guessed; nothing is relaxed in the question itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from llmplan.perf.replica import METRICS, most_decodes
from llmplan.plan.candidates import WIDTHS, Evaluated, idle_metrics
from llmplan.plan.columns import NoMix
from llmplan.spec.catalog import Catalog
from llmplan.spec.deployment import DeploymentRequest
from llmplan.spec.plan import Infeasible, Nearest
from llmplan.spec.workload import Bound, Fleet, Limits, OfferFilter, Slo
from llmplan.support import offer_filter
from llmplan.units import brief, significant
from llmplan.unpriced import providers, why_no_offer

if TYPE_CHECKING:
    from llmplan.recommend import Found

MARGIN = 1.25
"""A relaxed bound is proposed this far above the best that can be reached without load."""
Retry = Callable[[Fleet, bool], "Found"]


def infeasible(fleet: Fleet, found: Found, retry: Retry, catalog: Catalog) -> Infeasible:
    """Return why a search found nothing, and proposals that would.

    Parameters
    ----------
    retry : function (fleet, allow_lossy) -> Found
        Searches again with a changed question.
    """
    binding, reason = _binding(fleet, found, catalog)
    return Infeasible(
        reason=reason,
        binding=binding,
        best_reachable=_best(found.evaluated, found) if found.evaluated else {},
        nearest=tuple(_nearest(fleet, found, retry, binding, catalog)),
        rejected=dict(sorted(Counter(excuse.reason for excuse in found.excuses).items())),
    )


def _binding(fleet: Fleet, found: Found, catalog: Catalog) -> tuple[str, str]:
    """Return the kind of constraint that binds, and the sentence that says by how much."""
    studied = found.evaluated
    if studied is None or not studied.candidates:
        return _no_mix(found) if found.columns else _no_candidate(fleet, found, catalog)
    blocked = np.flatnonzero(~np.any(studied.capacity > 0, axis=0))
    if blocked.size == 0:
        return _no_mix(found)
    bucket = found.buckets[int(blocked[0])]
    if not np.any(most_decodes(studied.cost, studied.requests)[:, blocked[0]] > 0):
        return (
            "memory",
            f"no candidate has memory for {_request(bucket.input_tokens_max, bucket.output_tokens_max)}: "
            + (_closest_memory(found)),
        )
    metric = _missed(studied, int(blocked[0]))
    bound: Bound | None = getattr(bucket.slo, metric) if metric else None
    if metric is None or bound is None:
        return "slo", f"no plan keeps every bound at once for {bucket.name}"
    best, where = _least(studied, metric, int(blocked[0]))
    said = (
        f"no plan reaches {metric} {bound.label} {brief(bound.bound_s, 's')} at {bucket.input_tokens:.0f} input tokens"
    )
    return (
        f"slo.{metric}",
        f"{said}; the best without load is {brief(best, 's')} ({where}), {significant(best / bound.bound_s, 2)}x it",
    )


def _no_mix(found: Found) -> tuple[str, str]:
    mix = found.mix
    if not isinstance(mix, NoMix):
        return "mix", "the mix could not be settled"
    if mix.binding.startswith("bucket "):
        bucket = found.buckets[int(mix.binding.removeprefix("bucket "))]
        return "profile", f"no GPU of the table serves {bucket.name}: its requests_per_s is 0 or missing on all of them"
    return mix.binding, mix.reason


def _no_candidate(fleet: Fleet, found: Found, catalog: Catalog) -> tuple[str, str]:
    wanted = fleet.workloads[0].deployment
    if not found.offers:
        return "offers", why_no_offer(offer_filter(fleet), catalog)
    unsupported = next((e.message for e in found.excuses if e.reason == "unsupported"), None)
    if unsupported is not None:
        return "formats", f"no candidate on the offers: {unsupported}"
    widths = " ".join(f"{name} {width}" for name, width in wanted if name in ("gpu", "tp", "pp", "ep", "dp") and width)
    sizes = ", ".join(str(size) for size in sorted({o.node.gpus for o in found.offers}))
    said = f"no layout{' with ' + widths if widths else ''} fits: widths are powers of two up to {max(WIDTHS)}"
    return "layout", f"{said} that divide the model, and the nodes on offer have {sizes} GPUs"


def _request(tokens_in: float, tokens_out: float) -> str:
    return f"one request of {tokens_in:.0f} + {tokens_out:.0f} tokens"


def _closest_memory(found: Found) -> str:
    """Return the memory complaint of the candidate that lacks least."""
    studied = found.evaluated
    if studied is None:
        return ""
    pool = studied.cost.memory.pool_bytes[:, 0]
    row = int(np.argmax(pool))
    name = studied.candidates[row].name
    message = next((e.message for e in found.excuses if e.candidate == name), "")
    return f"closest {name}: {message}"


def _missed(studied: Evaluated, bucket: int) -> str | None:
    """Return the bounded metric that every candidate with memory misses even without load, worst first."""
    idle = idle_metrics(studied)
    fits = most_decodes(studied.cost, studied.requests)[:, bucket] > 0
    worst, ratio = None, 1.0
    for metric in METRICS:
        bound = float(getattr(studied.bounds, f"{metric}_s")[0, bucket])
        best = float(np.min(idle[metric][fits, bucket]))
        if best / bound > ratio:
            worst, ratio = metric, best / bound
    return worst


def _least(studied: Evaluated, metric: str, bucket: int) -> tuple[float, str]:
    """Return the best value of a metric without load, and the candidate that reaches it."""
    fits = most_decodes(studied.cost, studied.requests)[:, bucket] > 0
    values = np.where(fits, idle_metrics(studied)[metric][:, bucket], np.inf)
    row = int(np.argmin(values))
    return float(values[row]), studied.candidates[row].name


def _best(studied: Evaluated, found: Found) -> dict[str, str]:
    """Return the best value of each bounded metric on its own, over all buckets, and where."""
    said: dict[str, str] = {}
    if not np.any(most_decodes(studied.cost, studied.requests) > 0):
        return said
    for b, bucket in enumerate(found.buckets):
        for metric, bound in bucket.slo.bounds().items():
            if np.any(most_decodes(studied.cost, studied.requests)[:, b] > 0):
                value, where = _least(studied, metric, b)
                key = f"{metric}_{bound.label}" + (f" {bucket.name}" if len(found.buckets) > 1 else "")
                said[key] = f"{brief(value, 's')} ({where})"
    return said


def _nearest(fleet: Fleet, found: Found, retry: Retry, binding: str, catalog: Catalog) -> Iterator[Nearest]:
    """Yield changed questions that have an answer, with its price."""
    tried: set[str] = set()
    for change, changed, lossy in _changes(fleet, found, binding, catalog):
        if change in tried:
            continue
        tried.add(change)
        answer = retry(changed, lossy)
        if answer.plan is not None and answer.evaluation is not None and not answer.evaluation.findings:
            yield Nearest(change=change, usd_per_hour=answer.evaluation.cost.usd_per_hour)


def _changes(fleet: Fleet, found: Found, binding: str, catalog: Catalog) -> Iterator[tuple[str, Fleet, bool]]:
    workload = fleet.workloads[0]
    if binding == "offers" and (undated := tuple(catalog.undated(offer_filter(fleet)))):
        among = fleet.offers.model_copy(update={"providers": undated})
        yield providers(undated), fleet.model_copy(update={"offers": among}), False
    studied = found.evaluated
    if studied is not None and binding.startswith("slo"):
        yield from _relaxed_bounds(fleet, studied)
    if binding in ("gpus", "usd_per_hour", "node_limit") or " and " in binding or " or " in binding:
        yield from _relaxed_limits(fleet, found)
    if workload.deployment != DeploymentRequest():
        free = workload.model_copy(update={"deployment": DeploymentRequest()})
        yield "deployment: search all layouts and formats", fleet.model_copy(update={"workloads": (free,)}), False
    if fleet.offers != OfferFilter():
        yield "offers: search the whole catalog without spot", fleet.model_copy(update={"offers": OfferFilter()}), False
    unmeasured = sorted(e.candidate for e in found.excuses if e.reason == "evidence")
    if unmeasured:
        every = fleet.offers.model_copy(update={"gpus": tuple(sorted({c.gpu for c in found.columns}))})
        said = f"offers.gpus: with {', '.join(unmeasured)}, whose kernels nobody measured"
        yield said, fleet.model_copy(update={"offers": every}), False
    yield "--allow-lossy: quantized weights or KV", fleet, True


def _relaxed_bounds(fleet: Fleet, studied: Evaluated) -> Iterator[tuple[str, Fleet, bool]]:
    """Yield the fleet with one bound moved to what can be reached, then with all of them moved."""
    workload = fleet.workloads[0]
    fits = most_decodes(studied.cost, studied.requests) > 0
    reach = {}
    for metric in workload.slo.bounds():
        values = np.where(fits, idle_metrics(studied)[metric], np.inf)
        reach[metric] = float(np.max(np.min(values, axis=0))) * MARGIN
    moved = {m: _moved(workload.slo, [m], reach) for m in reach}
    moved["all bounds"] = _moved(workload.slo, list(reach), reach)
    for name, slo in moved.items():
        if slo == workload.slo or (name == "all bounds" and len(reach) < 2):
            continue
        changed = workload.model_copy(update={"slo": slo})
        said = ", ".join(
            f"{m} {brief(b.bound_s, 's')} {b.label}" for m, b in slo.bounds().items() if b != getattr(workload.slo, m)
        )
        yield said, fleet.model_copy(update={"workloads": (changed,)}), False


def _moved(slo: Slo, metrics: list[str], reach: dict[str, float]) -> Slo:
    update = {}
    for metric in metrics:
        bound: Bound = getattr(slo, metric)
        if reach[metric] > bound.bound_s and np.isfinite(reach[metric]):
            digits = float(f"{reach[metric]:.2g}")
            bound_s = digits if digits >= reach[metric] / MARGIN else reach[metric]
            update[metric] = bound.model_copy(update={"bound_s": bound_s})
    return slo.model_copy(update=update)


def _relaxed_limits(fleet: Fleet, found: Found) -> Iterator[tuple[str, Fleet, bool]]:
    """Yield the fleet without its caps, and the load that the caps do carry."""
    yield "limits: lifted", fleet.model_copy(update={"limits": Limits()}), False
    served = found.mix.served if isinstance(found.mix, NoMix) else 0.0
    load = sum(b.load for b in found.buckets)
    traffic = fleet.workloads[0].traffic
    if 0 < served < load and traffic.requests_per_s is not None:
        rate = float(f"{served * 0.999:.4g}")
        slower = traffic.model_copy(update={"requests_per_s": rate})
        workload = fleet.workloads[0].model_copy(update={"traffic": slower})
        yield f"rate: {rate:g} requests/s", fleet.model_copy(update={"workloads": (workload,)}), False
