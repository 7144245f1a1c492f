"""What an answer rests on: versions, hashes, bases, defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from llmplan.freshness import AsOf
from llmplan.spec.catalog import KINDS, Catalog
from llmplan.spec.fits import Basis
from llmplan.spec.hardware import Offer
from llmplan.spec.model import Model
from llmplan.spec.plan import Provenance
from llmplan.version import __version__


def provenance_of(
    catalog: Catalog,
    models: Mapping[str, Model],
    basis: Mapping[str, Basis],
    defaults: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
    *,
    offers: Sequence[Offer] = (),
    as_of: AsOf,
) -> Provenance:
    """Return where the figures of an answer come from."""
    text = "".join(model.model_dump_json() for _, model in sorted(models.items()))
    facts = [kind for kind in KINDS if kind != "fits"]
    return Provenance(
        llmplan_version=__version__,
        catalog_hash=catalog.hash([*facts, "hardware/prices"]),
        fits_hash=catalog.hash(["fits", "hardware"]),
        model_hash=hashlib.sha256(text.encode()).hexdigest()[:12] if models else None,
        basis=dict(sorted(basis.items())),
        defaults=tuple(defaults),
        day=as_of.day,
        prices_age_days=as_of.oldest_days(offers),
        origins=dict(sorted((origins or {}).items())),
    )
