"""Serving engines: scheduler defaults, what they support, measured overheads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from llmplan.spec.base import Bytes, Count, Fraction, Seconds, Set, Sources, Spec
from llmplan.spec.deployment import Batching
from llmplan.spec.model import KvDtype, WeightDtype


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
    """Share of the usable device memory that the engine may fill."""
    reserved_bytes: Bytes
    """Memory the driver and the device context keep: not visible to the engine."""
    framework_bytes: Bytes
    """Memory outside the framework's allocator, one device."""
    framework_multi_bytes: Bytes
    """The same when collectives join several devices."""
    activation_copies: float = Field(ge=0)
    """Peak activations, as copies of tokens x hidden size in 16 bit."""
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

    weight_dtypes: Set[WeightDtype]
    kv_dtypes: Set[KvDtype]


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
    attention_kinds: Set[Literal["gqa", "mla"]]
    max_pp: Count = 1
    """Pipeline stages at most."""
    notes: str = ""
    sources: Sources
