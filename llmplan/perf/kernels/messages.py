"""Messages from one device to another, and collectives between hosts.

Inside a host a message takes the link of its device::

    t = t_0 + V / (β·e)                                          β: bandwidth of the device's links, one direction

Between hosts nothing of the datasheet holds: the network is a fact of the cluster, and its share of the time is fitted
as it is::

    t = t_0 + t_1·(n − 2) + φ·V / (B·g^c)                        n ranks, g of them on a host, φ = 1 for a message

c > 0: more devices of a host bring more network cards.
Limits: two hosts only were measured, in one cluster of 2023; every other network needs its own rows.
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import Chip, Parameter, Parameters, Value
from llmplan.perf.kernels.collectives import sent
from llmplan.perf.roofline import Floats

INSIDE = (
    Parameter(name="fixed_s", start=1.5e-5, low=1e-6, high=1e-3, means="an empty message"),
    Parameter(name="link_efficiency", start=0.7, low=0.01, high=1.0, means="share of the links"),
)
BETWEEN = (
    Parameter(name="fixed_s", start=4e-5, low=1e-6, high=1e-2, means="an empty message"),
    Parameter(name="network_bytes_per_s", start=1e10, low=1e8, high=1e12, means="bandwidth of one device's network"),
)
COLLECTIVE = (
    *BETWEEN,
    Parameter(name="rank_s", start=2e-6, low=1e-9, high=1e-3, means="each rank beyond two"),
    Parameter(name="sharing", start=0.3, low=0.01, high=1.0, means="growth of the network with the devices of a host"),
)


def inside_s(size_bytes: Value, link_bytes_per_s: Value, chip: Chip, p: Parameters) -> Floats:
    """Return the time of one message between devices of a host. [s]

    Parameters
    ----------
    size_bytes : array or float
        Of the message. [B]
    link_bytes_per_s : array or float
        Bandwidth of one device's links, one direction. [B/s]
    chip : Chip
        Its clock scales the fixed time.
    p : mapping
        `INSIDE`.
    """
    return np.asarray(p["fixed_s"] * chip.latency + size_bytes / (link_bytes_per_s * p["link_efficiency"]))


def between_s(size_bytes: Value, p: Parameters) -> Floats:
    """Return the time of one message of so many bytes between devices of two hosts, by `BETWEEN`. [s]"""
    return np.asarray(p["fixed_s"] + size_bytes / p["network_bytes_per_s"])


def all_reduce_s(size_bytes: Value, ranks: Value, ranks_of_host: Value, p: Parameters) -> Floats:
    """Return the time of an all-reduce over ranks of several hosts, by `COLLECTIVE`. [s]"""
    network = p["network_bytes_per_s"] * np.asarray(ranks_of_host, dtype=float) ** p["sharing"]
    fixed = p["fixed_s"] + p["rank_s"] * (np.asarray(ranks, dtype=float) - 2)
    return np.asarray(fixed + sent(True, ranks) * size_bytes / network)
