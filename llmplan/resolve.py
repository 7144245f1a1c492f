"""From the names in a fleet to the nouns they mean: models, engines, devices. Shared by the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from llmplan.errors import InputError
from llmplan.kernel_library import kernels_on, library_of
from llmplan.perf.fits import Device, Replicas, gathered
from llmplan.perf.replica import replica_cost, requests_of
from llmplan.plan.candidates import Candidate, Evaluated, evaluate
from llmplan.plan.runs import why_not_model
from llmplan.spec.catalog import Catalog
from llmplan.spec.engine import Engine
from llmplan.spec.hardware import Gpu
from llmplan.spec.model import Model
from llmplan.spec.readers import read_model
from llmplan.spec.workload import Bucket, Traffic, Workload

DEFAULT_ENGINE = "vllm"
ONLY_NETWORK = "infiniband-400"
"""Link of devices whose datasheet names none: they meet others over a network."""


def resolved_model(workload: Workload, catalog: Catalog, where: str) -> tuple[Model, list[str]]:
    """Return the model of a workload and warnings: a catalog entry, or a local config.json.

    Raises
    ------
    LlmplanError
        No model is named, or the name is neither in the catalog nor a path.
    """
    if workload.model is None:
        raise InputError(f"{where}: model: missing; give a catalog name (llmplan models list) or a config.json")
    return read_model(workload.model, catalog, beside=where)


def fitting_buckets(workload: Workload, model: Model, where: str) -> list[Bucket]:
    """Return the buckets of a workload, within the model's context.

    Lengths beyond the 99th percentile are extrapolated; such a tail is cut at the context.

    Raises
    ------
    InputError
        The mean prompt and answer of a bucket do not fit the model's context.
    """
    most = model.max_context_tokens
    found = []
    for bucket in workload.buckets():
        longest = bucket.output_tokens_max
        if bucket.input_tokens + min(bucket.output_tokens, longest) > most:
            said = f"{bucket.input_tokens:,.0f} + {bucket.output_tokens:,.0f} tokens of {bucket.name}"
            raise InputError(f"{where}: workload: {said} exceed the context of {model.name}, {most:,} tokens")
        room_out = min(longest, most - 1)
        room_in = min(bucket.input_tokens_max, most - room_out)
        found.append(
            bucket.model_copy(
                update={
                    "output_tokens_max": room_out,
                    "output_tokens_tail": min(bucket.output_tokens_tail, room_out),
                    "input_tokens_max": max(room_in, bucket.input_tokens),
                }
            )
        )
    return found


def resolved_engine(workload: Workload, catalog: Catalog) -> tuple[Engine, list[str]]:
    """Return the engine of a workload, and the default that was taken."""
    if workload.engine == "auto":
        engine = catalog.engine(DEFAULT_ENGINE)
        differ = "engines differ by memory, scheduler, kernels of experts"
        return engine, [f"engine: {engine.title} {engine.version} ({differ})"]
    return catalog.engine(workload.engine), []


def check_runs(engine: Engine, model: Model, catalog: Catalog, where: str) -> None:
    """Refuse a model of a family that the engine does not run.

    Raises
    ------
    InputError
        One line: engine, family, and the engines that run it.
    """
    said = why_not_model(engine, model)
    if said:
        others = [name for name in catalog.names("engines") if model.family in catalog.engine(name).models]
        advice = f"{' or '.join(others)} does" if others else "no engine of the catalog does"
        raise InputError(f"{where}: engine: {said} ({model.name}); {advice}")


def device(gpu: Gpu, network_bytes_per_s: float, engine: Engine, catalog: Catalog) -> Device:
    """Return a GPU with its link and the kernels that an engine runs on it."""
    library = library_of(catalog)
    return Device(
        gpu=gpu,
        link=catalog.link(gpu.link or gpu.host_link or ONLY_NETWORK),
        network_bytes_per_s=network_bytes_per_s,
        kernel=kernels_on(gpu, engine, library),
        basis=library.basis(gpu),
    )


def as_replicas(
    candidates: Sequence[Candidate], model: Model, engine: Engine, catalog: Catalog, routing_skew: float
) -> Replicas:
    """Return candidates of one model and engine as columns."""

    @cache
    def known(gpu: str, network_bytes_per_s: float) -> Device:
        return device(catalog.gpu(gpu), network_bytes_per_s, engine, catalog)

    devices = [known(c.kind.gpu.name, c.kind.network_bytes_per_s) for c in candidates]
    deployments = [c.deployment for c in candidates]
    engines, spans_hosts = [engine] * len(candidates), [c.hosts > 1 for c in candidates]
    return gathered(model, deployments, devices, engines, spans_hosts, routing_skew)


def study(
    candidates: Sequence[Candidate],
    model: Model,
    engine: Engine,
    buckets: Sequence[Bucket],
    traffic: Traffic,
    catalog: Catalog,
) -> Evaluated:
    """Return candidates evaluated on the buckets of a workload, as its requests arrive."""
    cost = replica_cost(as_replicas(candidates, model, engine, catalog, traffic.routing_skew))
    requests = requests_of(buckets, cost.reaches, traffic.gap_cv, traffic.closed)
    return evaluate(candidates, cost, requests, buckets, traffic.closed)
