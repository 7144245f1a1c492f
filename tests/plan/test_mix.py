"""The mix against published toys and simulated profiles, its refusals, its laws."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from toys import exact, gpu, table, toy

from llmplan.plan.mix import Effort, Limits, NoMix, cheapest_mix, largest_load_factor, only_types

NAMES = ("a10g", "a100")


def counts(mix, names=NAMES):
    return tuple(mix.replicas.get(name, 0) for name in names)


class TestAnchors:
    @pytest.mark.parametrize(
        ("config", "rate", "usd", "expected"),
        [
            ("head", 30, 4.68, (1, 1)),
            ("head", 32, 5.69, (2, 1)),
            ("head", 64, 11.01, (0, 3)),
            ("head", 100, 14.68, (0, 4)),
            ("head", 128, 18.35, (0, 5)),
            ("834ad00", 30, 7.71, (4, 1)),
            ("834ad00", 32, 8.72, (5, 1)),
            ("834ad00", 100, 25.15, (14, 3)),
        ],
    )
    def test_toy(self, config, rate, usd, expected):
        mix = exact(*toy(config, rate))
        assert mix.usd_per_hour == pytest.approx(usd, abs=1e-6)
        assert counts(mix) == expected
        assert (mix.status, mix.flag, mix.verified) == ("optimal", "", True)
        assert mix.bound_usd_per_hour == pytest.approx(usd, abs=1e-6)

    def test_all_rows_of_the_toy(self):
        rows = table("melange_toy.csv")
        assert len(rows) == 130
        known = {}
        for row in rows:
            question = row["config"], float(row["rate_requests_per_s"])
            if question not in known:
                columns, load = toy(*question)
                alone = only_types(columns, load, gap=0.0)
                known[question] = [exact(columns, load), *(alone[name] for name in NAMES)]
            wanted = [float(row[f"{key}_usd_per_hour"]) for key in ("mix", "only_a10g", "only_a100")]
            assert [mix.usd_per_hour for mix in known[question]] == pytest.approx(wanted, abs=1e-6), row

    def test_all_rows_of_the_simulated_profiles(self):
        cells, known = table("aibrix.csv"), {}
        columns = [
            gpu("a100", 1.0, [cell["a100_requests_per_s"] for cell in cells]),
            gpu("a40", 0.3, [cell["a40_requests_per_s"] for cell in cells]),
        ]
        for row in table("aibrix_costs.csv"):
            question = row["workload"], float(row["rate_requests_per_s"])
            if question not in known:
                load = [float(cell[question[0]]) * question[1] for cell in cells]
                alone = only_types(columns, load, gap=0.0)
                known[question] = [exact(columns, load), alone["a100"], alone["a40"]]
            wanted = [float(row[f"{key}_usd_per_hour"]) for key in ("mix", "only_a100", "only_a40")]
            assert [mix.usd_per_hour for mix in known[question]] == pytest.approx(wanted, abs=1e-6), row
        assert counts(known["uniform", 128.0][0], ("a100", "a40")) == (1, 34)

    @pytest.mark.parametrize(
        ("rho", "usd", "expected"), [(0.99, 5.69, (2, 1)), (0.85, 6.70, (3, 1)), (0.8, 7.34, (0, 2))]
    )
    def test_headroom_costs_money(self, rho, usd, expected):
        mix = exact(*toy(rho=rho))
        assert mix.usd_per_hour == pytest.approx(usd, abs=1e-6)
        assert counts(mix) == expected

    def test_only_types(self):
        columns, load = toy()
        alone = only_types(columns, load, gap=0.0)
        assert {name: counts(mix) for name, mix in alone.items()} == {"a10g": (12, 0), "a100": (0, 2)}
        assert [alone[name].usd_per_hour for name in NAMES] == pytest.approx([12.12, 7.34], abs=1e-6)
        assert alone["a100"].shares.shape == (4, 2)

    @pytest.mark.parametrize(("rate", "usd"), [(4.0, 7.34), (4.01, 8.35), (4.37, 8.35), (4.38, 9.36)])
    def test_step_curve(self, rate, usd):
        columns = [gpu("a100", 3.67, [2.0]), gpu("a10g", 1.01, [0.37])]
        assert exact(columns, [rate]).usd_per_hour == pytest.approx(usd, abs=1e-6)

    @pytest.mark.parametrize(
        ("usd", "rate"),
        [(2.02, 5.0), (3.67, 80 / 3), (4.68, 30.0), (6.0, 100 / 3), (7.34, 160 / 3), (8.35, 170 / 3)],
    )
    def test_largest_rate_under_a_budget(self, usd, rate):
        columns, load = toy(rate=1)
        assert largest_load_factor(columns, load, Limits(usd_per_hour=usd)) == pytest.approx(rate, rel=1e-6)


class TestNo:
    def test_availability_binds(self):
        columns, load = toy()
        answer = cheapest_mix([replace(columns[0], node_limit=8)], load)
        assert answer.binding == "node_limit"
        assert answer.reason == "12 nodes of a10g are needed, 8 can be had"
        assert answer.served == pytest.approx(20.0, abs=1e-6)

    def test_budget_binds_and_the_least_cost_is_said(self):
        answer = cheapest_mix(*toy(), Limits(usd_per_hour=4.67, gpus=20), gap=0.0)
        assert answer.binding == "usd_per_hour"
        assert answer.reason == "4.68 USD/h are needed, at most 4.67 are allowed"
        assert answer.served == pytest.approx(80 / 3, rel=1e-6)

    def test_gpus_bind_and_the_fewest_are_said(self):
        columns, load = toy(rate=32)
        answer = cheapest_mix(columns, load, Limits(gpus=1))
        assert (answer.binding, answer.reason) == ("gpus", "2 GPUs are needed, at most 1 are allowed")

    def test_limits_that_bind_only_together(self):
        answer = cheapest_mix(*toy(), Limits(gpus=1, usd_per_hour=3.0), gap=0.0)
        assert answer.binding == "gpus and usd_per_hour"
        assert answer.served == pytest.approx(2.5)

    def test_either_limit_can_be_lifted(self):
        columns = [gpu("small", 1.0, [1.0]), gpu("big", 10.0, [4.0])]
        answer = cheapest_mix(columns, [4.0], Limits(gpus=3, usd_per_hour=9.0), gap=0.0)
        assert answer.binding == "gpus or usd_per_hour"
        assert answer.served == pytest.approx(3.0)

    def test_bucket_that_nothing_serves(self):
        answer = cheapest_mix([gpu("narrow", 1.0, [5, 0, 0])], [1.0, 1.0, 1.0])
        assert answer == NoMix(reason="no column can serve buckets 1, 2", binding="bucket 1", served=0.0)

    def test_bucket_without_load_needs_no_column(self):
        mix = exact([gpu("narrow", 1.0, [5, 0])], [1.0, 0.0])
        assert mix.replicas == {"narrow": 1}
        assert mix.shares.tolist() == [[1.0], [0.0]]

    def test_no_load_costs_nothing(self):
        assert exact([gpu("any", 1.0, [5])], [0.0]).usd_per_hour == 0
        assert exact([], []).replicas == {}

    def test_nothing_allowed_serves_nothing(self):
        assert cheapest_mix(*toy(), Limits(gpus=0)).served == 0

    def test_without_limits_any_load_is_served(self):
        assert largest_load_factor(*toy(), Limits()) == np.inf
        columns, load = toy()
        limited = [replace(columns[0], node_limit=2), columns[1]]
        assert largest_load_factor(limited, load, Limits()) == np.inf


class TestLaws:
    def instances(self, number=12, offers=4, buckets=3):
        for seed in range(number):
            draw = random.Random(seed)
            columns = [
                gpu(
                    f"g{i}",
                    draw.randint(2, 9),
                    [draw.choice([0, 1, 2, 3, 5]) for _ in range(buckets)],
                    2**i,
                    8,
                    node_limit=50,
                )
                for i in range(offers)
            ]
            columns.append(gpu("all", 11, [1] * buckets))
            yield columns, [draw.uniform(0.5, 6) for _ in range(buckets)]

    def test_cost_never_falls_when_demand_grows(self):
        for columns, load in self.instances(4):
            costs = [exact(columns, [rate * k / 4 for rate in load]).usd_per_hour for k in range(1, 13)]
            assert all(b >= a - 1e-6 for a, b in pairwise(costs))

    def test_cost_never_rises_when_an_offer_is_added(self):
        for columns, load in self.instances():
            costs = [exact(columns[n:], load).usd_per_hour for n in range(len(columns))]
            assert all(b >= a - 1e-6 for a, b in pairwise(costs))

    def test_cost_scales_with_prices(self):
        for columns, load in self.instances():
            dearer = [replace(column, node_usd_per_hour=column.node_usd_per_hour * 1000) for column in columns]
            assert exact(dearer, load).usd_per_hour == pytest.approx(1000 * exact(columns, load).usd_per_hour)

    def test_order_of_columns_does_not_matter(self):
        for columns, load in self.instances():
            there, back = exact(columns, load), exact(columns[::-1], load)
            assert list(there.replicas.items()) == list(back.replicas.items())
            assert there.shares.tolist() == back.shares[:, ::-1].tolist()

    def test_limits_never_make_it_cheaper(self):
        for columns, load in self.instances():
            free = exact(columns, load)
            tight = cheapest_mix(columns, load, Limits(gpus=16), gap=0.0)
            assert isinstance(tight, NoMix) or tight.usd_per_hour >= free.usd_per_hour - 1e-6

    def test_solvers_agree(self):
        for columns, load in self.instances(30):
            cbc = exact(columns, load, effort=Effort(prefer="cbc"))
            assert cbc.usd_per_hour == pytest.approx(exact(columns, load).usd_per_hour, abs=1e-6)
            assert cbc.solver == "CBC"


class TestGoals:
    def test_fewest_configurations_for_half_a_percent(self):
        columns = [gpu("left", 1.0, [1, 0]), gpu("right", 1.0, [0, 1]), gpu("both", 1.004, [1, 1])]
        assert len(exact(columns, [3.0, 2.0]).replicas) == 2
        mix = exact(columns, [3.0, 2.0], goals=("cost", "configurations"))
        assert mix.replicas == {"both": 5}
        assert mix.gap == pytest.approx(0.02 / 5.02)
        assert mix.bound_usd_per_hour == pytest.approx(5.0)

    def test_not_for_more(self):
        columns = [gpu("left", 1.0, [1, 0]), gpu("right", 1.0, [0, 1]), gpu("both", 1.006, [1, 1])]
        assert len(exact(columns, [3.0, 2.0], goals=("cost", "configurations")).replicas) == 2

    def test_not_over_the_budget(self):
        columns = [gpu("left", 1.0, [1, 0]), gpu("right", 1.0, [0, 1]), gpu("both", 1.004, [1, 1])]
        mix = exact(columns, [3.0, 2.0], Limits(usd_per_hour=5.01), goals=("cost", "configurations"))
        assert mix.usd_per_hour == pytest.approx(5.0)
