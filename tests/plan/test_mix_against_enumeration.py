"""Two hundred tiny questions, answered a second time by trying every count of every column.

Whether counts y serve the load is decided without an LP. By Farkas' lemma they do exactly when no prices p ≥ 0 make
the cheapest way of serving every bucket worth more than the replicas:  Σ_b min_c p_c · w_{b,c} ≤ Σ_c p_c · y_c. The
left side bends only where two columns are equally cheap for a bucket, so a few dozen price vectors decide.
"""

import random
from itertools import combinations, product

import numpy as np
import pytest

from llmplan.plan.mix import Column, Limits, Mix, cheapest_mix, largest_load_factor, verify

SIZES = [(1, 1), (1, 8), (2, 8), (4, 8), (8, 8), (16, 8), (3, 8)]
"""(GPUs of a replica, GPUs of a node)"""


def question(seed):
    draw = random.Random(seed)
    buckets, width = draw.randint(1, 3), draw.randint(1, 3)
    offers = {node: (node, draw.randint(1, 4) * node, draw.choice([None, None, 1, 2])) for node in (1, 8)}
    columns = []
    for c in range(width):
        gpus, node = draw.choice(SIZES)
        _, usd, limit = offers[node]
        rates = tuple(float(draw.choice([0, 1, 2, 3, 5, 8]) * gpus) for _ in range(buckets))
        columns.append(
            Column(
                name=f"c{c}-tp{gpus}",
                gpu="any",
                gpus=gpus,
                requests_per_s=rates,
                offer=f"n{node}",
                node_gpus=node,
                node_usd_per_hour=float(usd),
                node_limit=limit,
            )
        )
    load = [float(draw.choice([0, 1, 3, 5, 7.5, 12])) for _ in range(buckets)]
    limits = Limits(
        gpus=draw.choice([None, None, 4, 16]), usd_per_hour=draw.choice([None, None, float(draw.randint(3, 40))])
    )
    return columns, load, limits


def price_vectors(work):
    """Return every vector of column prices at which the left side can bend, (V, C)."""
    buckets, width = work.shape
    vectors = [np.eye(width)[c] for c in range(width)]
    ties = [
        (a, b, work[row, a] / work[row, b])  # the price of b when a costs 1 and both are as cheap
        for a, b in combinations(range(width), 2)
        for row in range(buckets)
        if np.isfinite(work[row, [a, b]]).all() and work[row, a] > 0
    ]
    for a, b, ratio in ties:
        vectors.append(np.eye(width)[a] + ratio * np.eye(width)[b])
    for (a, b, r), (c, d, q) in combinations(ties, 2):
        if {a, b} != {c, d}:
            vectors.append(joined(width, (a, b, r), (c, d, q)))
    return np.array(vectors)


def joined(width, first, second):
    """Return prices that keep both ties, which have one column in common."""
    (a, b, r), (c, d, q) = first, second
    prices = np.zeros(width)
    prices[a], prices[b] = 1.0, r
    if c in (a, b):
        prices[d] = prices[c] * q
    else:
        prices[c] = prices[d] / q
    return prices


def packed(sizes, node):
    """Return the nodes that first-fit decreasing fills."""
    free = []
    for size in sorted(sizes, reverse=True):
        for n, room in enumerate(free):
            if room >= size:
                free[n] -= size
                break
        else:
            free.append(node - size)
    return len(free)


def nodes_by_offer(columns, counts):
    """Return nodes by offer, packed one replica after the other; 3-GPU replicas stand alone."""
    nodes = {}
    groups = {}
    for column, count in zip(columns, counts, strict=True):
        if column.gpus > column.node_gpus:
            nodes[column.offer] = nodes.get(column.offer, 0) + count * column.gpus // column.node_gpus
        else:
            key = column.offer, column.name if column.gpus == 3 else ""
            groups.setdefault(key, (column.node_gpus, []))[1].extend([column.gpus] * count)
    for (offer, _), (node, sizes) in groups.items():
        nodes[offer] = nodes.get(offer, 0) + packed(sizes, node)
    return nodes


def enumerated(columns, load, limits):
    """Return the least cost, inf when there is none, and the largest factor of the load that is served."""
    rates = np.array([column.requests_per_s for column in columns]).T
    work = np.divide(np.array(load)[:, None], rates, out=np.full(rates.shape, np.inf), where=rates > 0)
    work = work[np.array(load) > 0]
    if not np.isfinite(work).any(axis=1).all():
        return np.inf, 0.0
    prices = price_vectors(work)
    paid = np.where(np.isfinite(work), np.where(np.isfinite(work), work, 0) * prices[:, None, :], np.inf)
    needed = paid.min(axis=2).sum(axis=1)  # (V,)
    most = np.where(np.isfinite(work), work, 0).sum(axis=0)
    least, largest = np.inf, 0.0
    for counts in product(*(range(int(np.ceil(top)) + 1) for top in most)):
        nodes = nodes_by_offer(columns, counts)
        facts = {column.offer: column for column in columns}
        usd = sum(facts[offer].node_usd_per_hour * n for offer, n in nodes.items())
        gpus = sum(facts[offer].node_gpus * n for offer, n in nodes.items())
        within = (
            gpus <= (limits.gpus or gpus)
            and usd <= (limits.usd_per_hour or usd)
            and all(n <= (facts[offer].node_limit or n) for offer, n in nodes.items())
        )
        if not within:
            continue
        binds = needed > 0
        factor = np.min((prices @ counts)[binds] / needed[binds], initial=np.inf)
        largest = max(largest, factor)
        if factor >= 1 - 1e-9:
            least = min(least, usd)
    return least, largest


@pytest.mark.parametrize("batch", range(8))
def test_mix_is_the_cheapest_of_all_counts(batch):
    answers = []
    for seed in range(batch * 25, batch * 25 + 25):
        columns, load, limits = question(seed)
        usd, factor = enumerated(columns, load, limits)
        answer = cheapest_mix(columns, load, limits, gap=0.0)
        if isinstance(answer, Mix):
            assert answer.usd_per_hour == pytest.approx(usd, abs=1e-6), seed
            assert verify(columns, load, limits, answer.replicas, answer.nodes, answer.shares) == []
            assert (answer.status, answer.flag) == ("optimal", ""), seed
        else:
            assert usd == np.inf, seed
            assert answer.served == pytest.approx(factor * sum(load), abs=1e-6), seed
            assert largest_load_factor(columns, load, limits) == pytest.approx(factor, abs=1e-6), seed
        answers.append(isinstance(answer, Mix))
    assert any(answers)
    assert not all(answers)
