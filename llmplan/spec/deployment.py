"""One replica's whole configuration, and what acts between replicas and over time."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmplan.errors import InputError
from llmplan.spec.base import Count, Fraction, Spec
from llmplan.spec.model import KvDtype, WeightDtype

Phase = Literal["prefill", "decode", "mixed"]
Tier = Literal["hbm", "dram", "ssd", "csd", "remote"]

_COUNTED = re.compile(r"(?:(?P<count>\d+)\s*x\s*)?(?P<gpu>(?!\d+\s*x)[^:,+\[\]{}]+?)(?::(?P<tail>\d+))?\Z")


def gpu_and_count(text: str) -> tuple[str, int | None]:
    """Return the GPU and the number of a shorthand: `h100-sxm`, `8xH100` or `H100:8`.

    Raises
    ------
    InputError
        The text is no GPU, or its number is 0.
    """
    parts = _COUNTED.match(text.strip())
    number = (parts["count"] or parts["tail"]) if parts else None
    if not parts or (parts["count"] and parts["tail"]) or (number and int(number) == 0):
        raise InputError(f"{text!r} is no GPU; write it as h100-sxm, 8xH100 or H100:8")
    return parts["gpu"].strip(), int(number) if number else None


class Layout(Spec):
    """How one replica is cut: the only bare abbreviations of the project."""

    tp: Count = 1
    """Tensor parallel."""
    pp: Count = 1
    """Pipeline stages over equal devices."""
    ep: Count = 1
    """Ranks the experts are spread over (of the tp x dp ranks of a stage)."""
    dp: Count = 1
    """Attention data parallel."""
    cp: Count = 1
    """Context parallel."""

    @model_validator(mode="after")
    def _experts_use_the_ranks(self) -> Layout:
        if self.tp * self.dp % self.ep:
            raise ValueError(f"ep {self.ep} does not divide tp x dp = {self.tp * self.dp} ranks")
        return self

    @property
    def gpus(self) -> int:
        """Devices of one stage of this layout, pipeline included."""
        return self.tp * self.pp * self.dp * self.cp

    def __str__(self) -> str:
        """Return the layout as people write it (tp4 pp2); one device is tp1."""
        parts = [f"{name}{size}" for name, size in self if size > 1]
        return " ".join(parts) or "tp1"


class Stage(Spec):
    """A run of layers on equal devices. One by default; several for pipelines over unequal machines."""

    gpu: str
    layers: Count | None = None
    """null: all of them."""
    layout: Layout = Layout()
    weight_dtype: WeightDtype


class Batching(Spec):
    """How steps are filled."""

    max_num_seqs: Count
    max_num_batched_tokens: Count
    mixes_prefill_and_decode: bool = True


class KvPolicy(Spec):
    """How KV blocks are handed out and taken back."""

    block_tokens: Count = 16
    watermark: Fraction = 0.0
    """Share of the pool kept free."""
    preemption: Literal["recompute", "swap", "none"] = "recompute"
    prefix_cache: bool = False


class Offload(Spec):
    """Objects that live below device memory."""

    object: Literal["weights", "kv", "activations", "experts", "adapters"]
    tiers: tuple[Tier, ...]
    fractions: tuple[Fraction, ...] | None = None
    """Share of the object in each tier; null: decided by the planner."""
    overlap: Literal["none", "layer", "full"] = "layer"


class Speculation(Spec):
    """Speculative decoding: several tokens a step, some of them kept."""

    kind: Literal["chain", "tree", "retrieval"]
    draft_tokens: Count
    width: Count = 1
    acceptance: tuple[Fraction, ...]
    """Probability that a draft token is kept, by depth; one value serves every depth."""
    draft_cost: Annotated[float, Field(ge=0)] = 0.0
    """Time of one draft step over one step of the model."""


class Deployment(Spec):
    """One replica: stages, formats, batching, KV policy, tiers, speculation."""

    model: str
    engine: str
    stages: tuple[Stage, ...] = Field(min_length=1)
    kv_dtype: KvDtype = "bf16"
    batching: Batching
    kv: KvPolicy = KvPolicy()
    offload: tuple[Offload, ...] = ()
    speculation: Speculation | None = None

    @property
    def gpus(self) -> int:
        """Devices of the replica."""
        return sum(stage.layout.gpus for stage in self.stages)

    @property
    def stage(self) -> Stage:
        """The first stage: all of the replica unless it is a pipeline over unequal machines."""
        return self.stages[0]

    @property
    def name(self) -> str:
        """Short name: GPUs, layout, formats."""
        parts = []
        for stage in self.stages:
            layout = str(stage.layout).replace(" ", "-")
            parts.append(f"{stage.gpu}-{layout}-{stage.weight_dtype}")
        kv = "" if self.kv_dtype == "bf16" else f"-kv_{self.kv_dtype}"
        return "+".join(parts) + kv


class DeploymentRequest(Spec):
    """What the user has already decided; every field left out is searched."""

    gpu: str | None = None
    """A GPU, or `4xh100-sxm` for its number too."""
    tp: Count | None = None
    pp: Count | None = None
    ep: Count | None = None
    dp: Count | None = None
    weight_dtype: WeightDtype | None = None
    kv_dtype: KvDtype | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    replicas: Count | None = None
    offer: str | None = None
    """provider/node/region/market of the nodes it runs on."""


class Router(Spec):
    """How a request finds its replica."""

    kind: Literal["shares", "random", "round_robin", "least_outstanding", "least_kv", "prefix_aware"] = "shares"
    admission: Literal["none", "early_reject"] = "none"


class Policy(Spec):
    """What acts between replicas and over time."""

    router: Router = Router()
    queue_order: Literal["fcfs", "sjf", "priority"] = "fcfs"
