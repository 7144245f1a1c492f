"""Replicas on nodes by hand, and a mix that is checked row by row."""

from dataclasses import replace

import numpy as np
import pytest
from toys import exact, gpu

from llmplan.plan.columns import nodes_of
from llmplan.plan.mix import Limits, cheapest_mix, verify


class TestNodes:
    def test_replicas_share_a_node(self):
        columns = [
            gpu("one", 8.0, [1, 0], 1, 8, offer="node"),
            gpu("four", 8.0, [0, 5], 4, 8, offer="node"),
        ]
        mix = exact(columns, [4.0, 5.0])
        assert (mix.nodes, mix.replicas) == ({"node": 1}, {"one": 4, "four": 1})
        assert exact(columns, [5.0, 5.0]).nodes == {"node": 2}

    def test_sizes_that_do_not_divide_the_node_stand_alone(self):
        columns = [gpu("three", 8.0, [1], 3, 8)]
        assert exact(columns, [4.0]).nodes == {"three": 2}
        assert exact(columns, [5.0]).nodes == {"three": 3}

    def test_replica_over_several_nodes(self):
        mix = exact([gpu("sixteen", 8.0, [1], 16, 8)], [3.0])
        assert (mix.nodes, mix.usd_per_hour) == ({"sixteen": 6}, 48.0)

    def test_limits_count_rented_gpus(self):
        columns = [gpu("one", 8.0, [1], 1, 8)]
        assert exact(columns, [1.0], Limits(gpus=8)).nodes == {"one": 1}
        assert cheapest_mix(columns, [1.0], Limits(gpus=7)).binding == "gpus"

    def test_nodes_of_counts_by_hand(self):
        columns = [gpu(f"tp{n}", 8.0, [1], n, 8, offer="node") for n in (1, 2, 3, 4, 8, 16)]
        assert nodes_of(columns, [3, 1, 3, 1, 1, 1]) == {"node": 2 + 1 + 2 + 2}

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"gpus": 12}, "no whole number"),
            ({"gpus": 0}, "at least 1 GPU"),
            ({"requests_per_s": (float("nan"),)}, "finite number"),
            ({"node_usd_per_hour": -1.0}, "not negative"),
            ({"node_limit": -1}, "not negative"),
        ],
    )
    def test_columns_that_mean_nothing(self, wrong, said):
        with pytest.raises(ValueError, match=said):
            replace(gpu("eight", 8.0, [1], 8, 8), **wrong)

    def test_questions_that_mean_nothing(self):
        one = gpu("one", 1.0, [1])
        for columns, load in [([one, one], [1.0]), ([one], [1.0, 1.0]), ([one], [-1.0])]:
            with pytest.raises(ValueError, match=r"named|capacities|load"):
                cheapest_mix(columns, load)
        with pytest.raises(ValueError, match="two sizes, prices or limits"):
            cheapest_mix([one, gpu("two", 2.0, [1], offer="one")], [1.0])
        with pytest.raises(ValueError, match="cost first"):
            cheapest_mix([one], [1.0], goals=("configurations",))


class TestVerify:
    def broken(self, load=(8.0,), limits=Limits(), **changed):  # noqa: B008 - frozen
        columns = [gpu("any", 2.0, [4.0], node_limit=3), gpu("not", 1.0, [0.0])]
        said = {"replicas": {"any": 2}, "nodes": {"any": 2}, "shares": np.array([[1.0, 0.0]]), **changed}
        return verify(columns, load, limits, **said)

    def test_a_sound_mix_has_no_broken_row(self):
        assert self.broken() == []
        assert self.broken([8.0 * (1 + 1e-8)]) == []

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"load": [8.0 * (1 + 1e-6)]}, "any: 2.000002 replicas are busy, 2 are there"),
            ({"shares": np.array([[1 - 1e-6, 0.0]])}, "bucket 0: 0.999999 of it is served"),
            ({"shares": np.array([[1.5, -0.5]])}, "a share is not between 0 and 1"),
            ({"shares": np.array([[0.5, 0.5]])}, "not: inf replicas are busy, 0 are there"),
            ({"shares": np.array([1.0])}, "shares have shape (1,), not (1, 2)"),
            ({"replicas": {"any": 2.5}}, "any: 2.5 is not a count"),
            ({"replicas": {"other": 1}}, "no column or offer 'other'"),
            ({"nodes": {"any": 1}}, "any: 2 nodes are needed, 1 are there"),
            ({"nodes": {"any": 4}}, "node_limit of any: 4 of at most 3"),
            ({"limits": Limits(gpus=1)}, "gpus: 2 of at most 1"),
            ({"limits": Limits(usd_per_hour=3.9)}, "usd_per_hour: 4 of at most 3.9"),
        ],
    )
    def test_every_broken_row_is_said(self, changed, said):
        assert said in self.broken(**changed)
