"""The mix against published toys, against its laws, and against solvers that lie."""

import csv
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llmplan.errors import SolverError
from llmplan.plan import search
from llmplan.plan.columns import nodes_of, task
from llmplan.plan.mix import Column, Effort, Limits, Mix, NoMix, cheapest_mix, largest_load_factor, only_types, verify
from llmplan.plan.search import relaxation
from llmplan.plan.solver import Outcome, solve

DATA = Path(__file__).parent / "data"
NAMES = ("a10g", "a100")
TOY = {
    "head": ((2, 1, 5, 2), (20, 20, 40, 20), (0.2, 0.1, 0.5, 0.2)),
    "834ad00": ((5, 1, 10, 5), (20, 2, 50, 20), (0.25, 0.125, 0.375, 0.25)),
}


def table(name):
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
    a10g, a100, shares = TOY[config]
    columns = [gpu("a10g", 1.01, np.array(a10g) * rho), gpu("a100", 3.67, np.array(a100) * rho)]
    return columns, [rate * share for share in shares]


def exact(columns, load, limits=Limits(), **more):  # noqa: B008 - frozen
    """The optimum, with every row checked once more."""
    mix = cheapest_mix(columns, load, limits, gap=0.0, **more)
    assert isinstance(mix, Mix), mix
    assert verify(columns, load, limits, mix.replicas, mix.nodes, mix.shares) == []
    return mix


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

    def test_relaxation_and_its_duals(self):
        found = relaxation(task(*toy(), Limits()))
        assert found.outcome.bound == pytest.approx(4.12875, abs=1e-6)
        assert found.duals == pytest.approx([1.101, 0.5505, 1.37625, 1.101], abs=1e-6)

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


class TestSmallNumbers:
    def test_tiny_bucket_still_gets_its_replica(self):
        columns = [gpu("narrow", 1.0, [10, 0]), gpu("wide", 5.0, [1, 1])]
        assert exact(columns, [10.0, 1e-9]).replicas == {"narrow": 1, "wide": 1}

    def test_what_was_left_out_can_take_a_replica(self):
        mix = exact([gpu("any", 1.0, [10, 10])], [10.0, 9e-6])
        assert mix.replicas == {"any": 2}
        assert mix.bound_usd_per_hour <= 2.0

    def test_what_is_below_tolerance_does_not(self):
        assert exact([gpu("any", 1.0, [10, 10])], [10.0, 1e-8]).replicas == {"any": 1}

    @pytest.mark.parametrize("rate", [1e-9, 1e-3, 1e3, 1e5])
    def test_scale_of_the_load(self, rate):
        mix = exact([gpu("any", 2.0, [8, 5])], [0.5 * rate, 0.5 * rate])
        assert mix.usd_per_hour == 2.0 * max(1, np.ceil(0.1625 * rate - 1e-6))


class TestLaws:
    def instances(self, number=12, offers=4, buckets=3):
        for seed in range(number):
            draw = random.Random(seed)  # noqa: S311
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


class TestLies:
    """A solver's word is not enough."""

    @staticmethod
    def say(monkeypatch, status, values=None, bound=0.0, row=None):
        def lie(problem, *limits):
            if row is not None:
                row(problem)
            outcome = solve(problem, *limits)
            for name, value in (values or {}).items():
                problem.variablesDict()[name].varValue = value
            return Outcome(status=status, bound=outcome.bound if bound is None else bound, solver="liar")

        monkeypatch.setattr(search, "solve", lie)

    def test_dear_answer_is_replaced(self, monkeypatch):
        def forbid_a100(problem):
            problem += problem.variablesDict()["y_1"] == 0, "never"

        self.say(monkeypatch, "optimal", bound=None, row=forbid_a100)
        mix = exact(*toy())
        assert mix.usd_per_hour < 12.12
        assert "liar answered 12.12 (wrong)" in mix.flag
        assert mix.bound_usd_per_hour == pytest.approx(4.12875)

    def test_infeasible_that_is_not(self, monkeypatch):
        self.say(monkeypatch, "infeasible", bound=np.inf)
        mix = exact(*toy())
        assert "called it infeasible" in mix.flag

    def test_answer_that_serves_nothing(self, monkeypatch):
        self.say(monkeypatch, "optimal", {"y_0": 0, "y_1": 0})
        mix = exact(*toy())
        assert mix.status == "feasible"
        assert "found nothing" in mix.flag

    def test_bound_above_a_verified_cost(self, monkeypatch):
        self.say(monkeypatch, "optimal", bound=100.0)
        mix = exact(*toy())
        assert mix.usd_per_hour == pytest.approx(4.68)
        assert mix.bound_usd_per_hour == pytest.approx(4.12875)
        assert (mix.status, "above a verified answer" in mix.flag) == ("feasible", True)

    def test_limit_hit_without_an_answer(self, monkeypatch):
        self.say(monkeypatch, "unknown")
        mix = exact(*toy())
        assert (mix.status, "cut short" in mix.flag) == ("feasible", True)
        monkeypatch.setattr(search, "ceiling", lambda *_: None)
        with pytest.raises(SolverError, match="allow more nodes or seconds"):
            cheapest_mix(*toy())

    def test_known_cheaper_plan_is_kept(self, monkeypatch):
        columns, load = toy(rate=32)
        good = exact(columns, load)
        self.say(monkeypatch, "optimal", row=lambda p: p.addConstraint(p.variablesDict()["y_1"] >= 3))
        monkeypatch.setattr(search, "ceiling", lambda *_: None)
        monkeypatch.setattr(search, "tidy", lambda _, counts: counts)
        mix = exact(columns, load, rivals=[good])
        assert mix.usd_per_hour == pytest.approx(5.69)
        assert "was known and is kept" in mix.flag

    def test_rival_that_does_not_serve_is_ignored(self):
        columns, load = toy()
        cheap = replace(exact(columns, load), replicas={"a10g": 1}, nodes={"a10g": 1}, usd_per_hour=1.01)
        assert exact(columns, load, rivals=[cheap]).usd_per_hour == pytest.approx(4.68)


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
