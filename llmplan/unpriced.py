"""Why there is no offer: nobody rents the GPU, the day of its prices is not known, or the filter keeps none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmplan.spec.catalog import Catalog
from llmplan.spec.workload import OfferFilter
from llmplan.support import MARKETS


def without_price(gpus: Iterable[str], catalog: Catalog) -> list[str]:
    """Return those of some GPUs that no price sheet has at all."""
    names = dict.fromkeys(catalog.gpu(name).name for name in gpus)
    return [name for name in names if not catalog.offers(_every(name), everything=True)]


def _every(gpu: str) -> OfferFilter:
    return OfferFilter(gpus=(gpu,), markets=MARKETS)


def why_no_offer(wanted: OfferFilter, catalog: Catalog) -> str:
    """Return why a filter keeps no offer, and what to do."""
    undated = catalog.undated(wanted)
    if undated:
        return f"no offer of a known day has {asked_for(wanted)}; {named(undated)}"
    bare = without_price(wanted.gpus, catalog)
    if bare and len(bare) == len(wanted.gpus):
        return f"no offer rents {' or '.join(bare)}; add a price (llmplan prices import)"
    return f"no offer in the price sheets has {asked_for(wanted)}"


def asked_for(wanted: OfferFilter) -> str:
    """Return a filter in words."""
    return ", ".join(f"{field.removesuffix('s')} {' or '.join(names)}" for field, names in wanted if names)


def named(undated: Mapping[str, int]) -> str:
    """Return how prices of an unknown day are made to count."""
    had = ", ".join(f"{name} has {count}" for name, count in undated.items())
    return f"{had} of an unknown day, which counts when named: {providers(undated)}"


def providers(undated: Iterable[str]) -> str:
    """Return the line of a question that names providers."""
    return f"offers.providers: [{', '.join(undated)}]"
