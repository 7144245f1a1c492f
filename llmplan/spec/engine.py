"""Serving engines: scheduler defaults, what they support, measured overheads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from llmplan.spec.base import Bytes, Count, Fraction, Seconds, Set, Source, Sources, Spec
from llmplan.spec.deployment import Batching
from llmplan.spec.model import KvDtype, WeightDtype

Feature = Literal[
    "tp",
    "pp",
    "ep",
    "attention_dp",
    "cp",
    "chunked_prefill",
    "prefix_cache",
    "mtp",
    "eagle",
    "lora",
    "pd",
    "kv_offload",
]
"""Ways to cut a model (tensor, pipeline, expert, attention data, context parallel), and what else an engine can do:
chunked prefill, prefix caching, speculation with the model's own MTP layers or EAGLE heads, LoRA adapters, prefill and
decode on separate replicas, KV kept in host memory."""


class SmallDevice(Spec):
    """Defaults an engine takes on devices it counts as small."""

    below_bytes: Bytes
    """Devices with less memory."""
    architectures: Set[str] = frozenset()
    """Devices of these, whatever their memory."""
    max_num_seqs: Count
    max_num_batched_tokens: Count


class Scheduler(Spec):
    """How an engine fills its steps, by default."""

    max_num_seqs: Count
    """Sequences at most, of each attention data-parallel rank."""
    max_num_batched_tokens: Count
    """Tokens in one step at most, decodes and prefill together, of each attention data-parallel rank."""
    mixes_prefill_and_decode: bool = True
    """Prefill chunks share steps with decodes (chunked prefill)."""
    block_tokens: Count = 16
    """Tokens of one KV block."""
    small: SmallDevice | None = None

    def batching(self, memory_bytes: float, architecture: str) -> Batching:
        """Return the defaults on a device with this much memory."""
        own = self.small
        few = own is not None and (memory_bytes < own.below_bytes or architecture in own.architectures)
        source = own if own is not None and few else self
        return Batching(
            max_num_seqs=source.max_num_seqs,
            max_num_batched_tokens=source.max_num_batched_tokens,
            mixes_prefill_and_decode=self.mixes_prefill_and_decode,
        )


class MemoryUse(Spec):
    """What an engine takes of device memory beside weights and KV."""

    utilization: Fraction
    """Share of memory that the engine may fill; of which memory, `pool_rule` says."""
    pool_rule: Literal["share_of_device", "share_of_free"] = "share_of_device"
    """`utilization` is of all visible memory, weights included, or of what weights and activations leave: for KV."""
    reserved_bytes: Bytes
    """Memory the driver and the device context keep: not visible to the engine."""
    framework_bytes: Bytes
    """Memory outside the framework's allocator, one device."""
    communication_bytes: Bytes
    """Buffers of collectives, where a replica has several devices."""
    graph_bytes: Bytes = 0.0
    """Captured graphs of the device's work, where they take from the KV pool."""
    activation_copies: float = Field(ge=0)
    """Peak activations, as copies of tokens x hidden size in 16 bit."""
    activation_token_bytes: Bytes = 0.0
    """Set aside for each token of a step, whatever the model."""
    sampler_bytes: Bytes
    """Peak of sampling, for each sequence and vocabulary entry."""
    weight_pad_elements: Mapping[WeightDtype, Count] = {}
    """The hidden side of expert matrices is padded to a multiple of this."""


class Overhead(Spec):
    """Host time that kernels do not show."""

    step_s: Seconds
    """Each step."""
    layer_s: Seconds
    """Each layer of a step."""
    sequence_s: Seconds
    """Each sequence of a step."""
    first_token_steps: float = Field(ge=0)
    """Steps between the end of prefill and the first token at the client."""


class Support(Spec):
    """What an engine can run on devices of one architecture."""

    since: str = ""
    """First version that runs on them, where that is newer than the engine's."""
    weight_dtypes: Set[WeightDtype]
    kv_dtypes: Set[KvDtype]
    block_scaled_fp8: bool = True
    """Whether fp8 weights may carry a scale for each block (DeepSeek, Qwen3-FP8)."""
    families: Set[str] | None = None
    """Model families that run on them; null: all that the engine runs."""


class Formats(Spec):
    """Formats that a model family is run in; null: all that the device has."""

    weight_dtypes: Set[WeightDtype] | None = None
    kv_dtypes: Set[KvDtype] | None = None


class FamilySupport(Formats):
    """How an engine runs one family of models. Nothing said: everywhere, in every format, with all common features."""

    since: str = ""
    """First version that runs it, where that is newer than the engine's."""
    only: Mapping[str, Formats] | None = None
    """GPU architectures that run it, and the formats there; null: all of `support`."""
    without: Set[Feature] = frozenset()
    """Features of the engine that this family lacks."""
    also: Set[Feature] = frozenset()
    """Features beyond those of the engine."""
    source: Source | None = None
    """Where it is not that of the whole table."""

    def formats(self, architecture: str) -> tuple[Formats, ...]:
        """Return what limits the formats on devices of an architecture that runs the family."""
        return (self,) if self.only is None else (self, self.only[architecture])


class KernelChoice(Spec):
    """The kernel that runs an operator, named as measured rows name it."""

    kernel: str
    dtype: str | None = None
    """Format of its rows, where they stand in for those of another."""


class Engine(Spec):
    """One serving engine and the version its facts belong to."""

    name: str
    aliases: tuple[str, ...] = ()
    title: str
    """As it is written in prose (vLLM)."""
    version: str
    scheduler: Scheduler
    memory: MemoryUse
    overhead: Overhead
    support: Mapping[str, Support]
    """By GPU architecture; an architecture not listed is not supported."""
    models: Mapping[str, FamilySupport]
    """By model family (`Model.family`); a family not listed is not run."""
    features: Set[Feature]
    """What it can do with every model, but for the exceptions in `models`."""
    max_pp: Count = 1
    """Pipeline stages at most."""
    kernels: Mapping[str, Mapping[str, KernelChoice]] = {}
    """By GPU architecture, and by operator and format (`moe.fp8_block`), where several kernels were measured; left out,
    the one with most rows."""
    notes: str = ""
    sources: Sources

    @model_validator(mode="after")
    def _families_stay_within_the_engine(self) -> Engine:
        for family, entry in self.models.items():
            strange = sorted(set(entry.only or {}) - set(self.support))
            if strange:
                raise ValueError(f"models.{family}.only: {strange[0]} is not in support")
            lacking = sorted(entry.without - self.features)
            if lacking:
                raise ValueError(f"models.{family}.without: {lacking[0]} is not in features")
        for architecture, device in self.support.items():
            unknown = sorted(set(device.families or ()) - set(self.models))
            if unknown:
                raise ValueError(f"support.{architecture}.families: {unknown[0]} is not in models")
        return self

    def has(self, family: str, feature: Feature) -> bool:
        """Return whether it has a feature with the models of a family that it runs."""
        entry = self.models[family]
        return feature in entry.also or (feature in self.features and feature not in entry.without)

    def architectures_of(self, family: str) -> list[str]:
        """Return the GPU architectures that it runs a family on, in the order of `support`."""
        entry = self.models.get(family)
        if entry is None:
            return []
        return [
            name
            for name, device in self.support.items()
            if (device.families is None or family in device.families) and (entry.only is None or name in entry.only)
        ]
