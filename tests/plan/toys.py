"""Toy columns and published toys that the tests of the mix share."""

import csv
from pathlib import Path

import numpy as np

from llmplan.plan.mix import Column, Limits, Mix, cheapest_mix, verify

DATA = Path(__file__).parent / "data"
TOY = {
    "head": ((2, 1, 5, 2), (20, 20, 40, 20), (0.2, 0.1, 0.5, 0.2)),
    "834ad00": ((5, 1, 10, 5), (20, 2, 50, 20), (0.25, 0.125, 0.375, 0.25)),
}
"""The published example, by commit: requests/s of an A10G and of an A100, and the share of each bucket."""


def table(name):
    """The rows of a data file."""
    with (DATA / name).open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def gpu(name, usd, rates, gpus=1, node_gpus=None, **more):
    """A replica type on an offer of its own, of nodes that it fills unless said otherwise."""
    facts = {"offer": name, "gpu": name, **more}
    node_gpus = node_gpus or gpus
    rates = tuple(map(float, rates))
    return Column(
        name=name, gpus=gpus, requests_per_s=rates, node_gpus=node_gpus, node_usd_per_hour=float(usd), **facts
    )


def toy(config="head", rate=30, rho=1.0):
    """Columns and load of the published example."""
    a10g, a100, shares = TOY[config]
    columns = [gpu("a10g", 1.01, np.array(a10g) * rho), gpu("a100", 3.67, np.array(a100) * rho)]
    return columns, [rate * share for share in shares]


def exact(columns, load, limits=Limits(), **more):  # noqa: B008 - frozen
    """The optimum, with every row checked once more."""
    mix = cheapest_mix(columns, load, limits, gap=0.0, **more)
    assert isinstance(mix, Mix), mix
    assert verify(columns, load, limits, mix.replicas, mix.nodes, mix.shares) == []
    return mix
