"""The architectures whose `config.json` llmplan reads."""

from __future__ import annotations

from collections.abc import Mapping

from llmplan.spec.config_families_dense import DENSE
from llmplan.spec.config_families_hybrid import HYBRID
from llmplan.spec.config_families_sparse import SPARSE
from llmplan.spec.config_family import Family

FAMILIES: Mapping[str, Family] = {**DENSE, **SPARSE, **HYBRID}
"""The architectures that are read, by `model_type`."""
