"""Operators of the steps of a replica at work: time, work, what holds each up, and how far its time may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from llmplan.perf.replica import Operating, step_features
from llmplan.perf.told import Told
from llmplan.spec.fits import Basis
from llmplan.spec.plan import OperatorTime

Steps = Mapping[Literal["decode", "chunk"], Mapping[str, Told]]
"""A step without prefill, and one with a chunk of the mean size."""


def steps_of(state: Operating) -> Steps:
    """Return the operators of both kinds of steps of C replicas."""
    n = np.maximum(state.decodes_in_step, 1.0)
    none = np.zeros_like(n)
    in_chunk = state.prefill_tokens / np.maximum(state.chunk_share, 1e-30)
    work = state.cost.step.work
    return {
        "decode": work(step_features(state.requests, n, none, none)),
        "chunk": work(step_features(state.requests, n, in_chunk, none)),
    }


def mean_shares(state: Operating, steps: Steps, row: int) -> dict[str, float]:
    """Return the share of each operator in the mean step of one replica, largest first."""
    f = float(state.chunk_share[row, 0])
    decode, chunk = steps["decode"], steps["chunk"]
    seconds = {name: float((1 - f) * decode[name].seconds[row, 0] + f * chunk[name].seconds[row, 0]) for name in chunk}
    total = sum(seconds.values())
    return {name: s / total for name, s in sorted(seconds.items(), key=lambda item: -item[1])}


def operator_times(
    told: Mapping[str, Told], row: int, error_p90: Mapping[str, Mapping[Basis, float]]
) -> dict[str, OperatorTime]:
    """Return the operators of one step of one replica, longest first; those that take no time are left out.

    Parameters
    ----------
    told : mapping of operator to Told
    row : int
        Which replica.
    error_p90 : mapping
        By measured operator and basis. [%]
    """
    total = sum(float(one.seconds[row, 0]) for one in told.values())
    found = {}
    for name, one in told.items():
        seconds = float(one.seconds[row, 0])
        if seconds <= 0:
            continue
        basis = one.basis[row] if one.basis else None
        found[name] = OperatorTime(
            time_s=seconds,
            share=seconds / total,
            flop=float(one.flop[row, 0]),
            moved_bytes=float(one.moved_bytes[row, 0]),
            sent_bytes=float(one.sent_bytes[row, 0]),
            bound_by=one.bound_by(row),
            efficiency=one.least_s(row) / seconds,
            basis=basis,
            error_p90=error_p90.get(one.kernel, {}).get(basis) if basis else None,
        )
    return dict(sorted(found.items(), key=lambda item: -item[1].time_s))
