"""A solver's word is not enough: small numbers, wrong answers, wrong bounds, no answers."""

from dataclasses import replace

import numpy as np
import pytest
from toys import exact, gpu, toy

from llmplan.errors import SolverError
from llmplan.plan import search
from llmplan.plan.columns import task
from llmplan.plan.mix import Limits, cheapest_mix
from llmplan.plan.search import relaxation
from llmplan.plan.solver import Outcome, solve


def test_relaxation_and_its_duals():
    found = relaxation(task(*toy(), Limits()))
    assert found.outcome.bound == pytest.approx(4.12875, abs=1e-6)
    assert found.duals == pytest.approx([1.101, 0.5505, 1.37625, 1.101], abs=1e-6)


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
