"""One call for every integer program: HiGHS first, CBC when HiGHS is absent or fails.

What a solver says is read with suspicion. PuLP's `status` is never looked at, because it calls a time-out with an
incumbent "Optimal" and one without "Infeasible"; `sol_status` tells them apart. A node limit in HiGHS has no
`sol_status` at all, so there the existence of a feasible point decides. Threads and seed are fixed and the default
limit counts nodes, not seconds, so that an answer does not depend on the machine.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

from llmplan.errors import SolverError

Status = Literal["optimal", "feasible", "infeasible", "unknown"]

SEED = 1
TOLERANCE = 1e-9
"""Largest violation of a row inside HiGHS, well below what `verify` allows."""
MIP_TOLERANCE = 1e-7
"""Largest distance from a whole number: at 1e-9 HiGHS called optimal what was not, in 1 of 100 random questions."""

_BY_SOL_STATUS: dict[int, Status] = {1: "optimal", 2: "feasible", -1: "infeasible"}
_FEASIBLE_POINT = 2  # HiGHS: kSolutionStatusFeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long a solver may try, and which one."""

    node_limit: int | None = 2_000
    """Branch-and-bound nodes."""
    time_limit_s: float | None = None
    """Makes answers depend on the machine."""
    prefer: str | None = None
    """highs | cbc: the one to ask first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a solver proved. The values stay in the variables of the problem."""

    status: Status
    """optimal: within the gap asked. feasible: a point, no proof. infeasible: by proof. unknown: neither."""
    bound: float
    """No point has a better objective; -inf (+inf when maximizing) when nothing is known."""
    solver: str


class _UnavailableError(Exception):
    """A solver cannot be started, or gave up without an answer."""


def solve(
    problem: Any,
    gap: float,
    node_limit: int | None = None,
    time_limit_s: float | None = None,
    prefer: str | None = None,
) -> Outcome:
    """Solve `problem` with the first solver that answers.

    Parameters
    ----------
    problem : pulp.LpProblem
        With an objective; its variables hold the answer afterwards.
    gap : float
        Relative distance between answer and bound at which to stop.
    node_limit : int, optional
        Branch-and-bound nodes at which to stop.
    time_limit_s : float, optional
        Wall time at which to stop. [s]
    prefer : {'highs', 'cbc'}, optional
        The solver to ask first.

    Raises
    ------
    SolverError
        When neither solver can be started.

    Notes
    -----
    CBC says the same of an integer program that it proved infeasible and of one that ran out of time without an
    incumbent; both are "unknown" here. Its bound is that of the LP relaxation.
    """
    return _ask(problem, gap, Effort(node_limit=node_limit, time_limit_s=time_limit_s, prefer=prefer))


def relax(problem: Any, prefer: str | None = None) -> Outcome:
    """Solve the LP relaxation of `problem`; `bound` is its objective, the rows' `pi` its duals."""
    return _ask(problem, 0.0, Effort(node_limit=None, prefer=prefer), mip=False)


def _ask(problem: Any, gap: float, effort: Effort, mip: bool = True) -> Outcome:
    solvers = {"highs": _highs, "cbc": _cbc}
    if effort.prefer is not None and effort.prefer not in solvers:
        raise SolverError(f"no solver {effort.prefer!r}; pick one of {', '.join(solvers)}")
    excuses = []
    for name in sorted(solvers, key=lambda name: name != (effort.prefer or "highs")):
        try:
            return solvers[name](problem, gap, effort, mip)
        except _UnavailableError as error:
            excuses.append(f"{name}: {error}")
    raise SolverError(f"no solver answered ({'; '.join(excuses)}); install highspy")


def _highs(problem: Any, gap: float, effort: Effort, mip: bool) -> Outcome:
    try:
        import highspy
    except ImportError:
        raise _UnavailableError("highspy is not installed") from None
    import pulp

    options: dict[str, Any] = {
        "primal_feasibility_tolerance": TOLERANCE,
        "mip_feasibility_tolerance": MIP_TOLERANCE,
        "random_seed": SEED,
    }
    if effort.node_limit is not None:
        options["mip_max_nodes"] = effort.node_limit
    command = pulp.HiGHS(
        mip=mip, msg=False, threads=1, gapRel=gap, gapAbs=1e-7, timeLimit=effort.time_limit_s, **options
    )
    try:
        problem.solve(command)
        sol_status = problem.sol_status
    except KeyError:  # PuLP has no word for a node limit
        sol_status = 2
    except (pulp.PulpError, RuntimeError, IndexError) as error:
        raise _UnavailableError(_line(error)) from error
    model = problem.solverModel
    info = model.getInfo()
    status = _BY_SOL_STATUS.get(sol_status, "unknown")
    if status == "unknown" and model.getModelStatus() in _failures(highspy):
        raise _UnavailableError(f"stopped with {model.getModelStatus()}")
    if status in ("optimal", "feasible") and info.primal_solution_status != _FEASIBLE_POINT:
        status = "unknown"
    bound = info.mip_dual_bound if mip and problem.isMIP() else info.objective_function_value
    if status != "optimal" and not (mip and problem.isMIP()):
        bound = float("-inf")
    return Outcome(status=status, bound=_signed(problem, bound), solver=f"HiGHS {model.version()}")


def _failures(highspy: Any) -> tuple[Any, ...]:
    status = highspy.HighsModelStatus
    return (status.kNotset, status.kLoadError, status.kModelError, status.kPresolveError, status.kSolveError)


def _cbc(problem: Any, gap: float, effort: Effort, mip: bool) -> Outcome:
    import pulp

    options: dict[str, Any] = {"msg": False, "threads": 1, "gapRel": gap}
    if effort.time_limit_s is not None:
        options["timeLimit"] = effort.time_limit_s
    if effort.node_limit is not None:
        options["maxNodes"] = effort.node_limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        commands = [kind for kind in ("PULP_CBC_CMD", "COIN_CMD") if _starts(pulp, kind)]
        if not commands:
            raise _UnavailableError("no cbc with PuLP nor on the path")
        kind = getattr(pulp, commands[0])
        try:
            problem.solve(kind(mip=False, msg=False))  # first, because every solve overwrites the variables
            bound = pulp.value(problem.objective) if problem.sol_status == 1 else float("-inf")
            if mip and problem.isMIP() and problem.sol_status != -1:
                problem.solve(kind(**options))
        except (pulp.PulpError, OSError) as error:
            raise _UnavailableError(_line(error)) from error
    status = _BY_SOL_STATUS.get(problem.sol_status, "unknown")
    if problem.sense == pulp.LpMaximize and bound == float("-inf"):
        bound = float("inf")
    return Outcome(status=status, bound=float(bound), solver="CBC")


def _starts(pulp: Any, kind: str) -> bool:
    """Return whether this form of CBC exists here: bundled with PuLP 3, on the path otherwise."""
    return hasattr(pulp, kind) and bool(getattr(pulp, kind)(msg=False).available())


def _signed(problem: Any, bound: float) -> float:
    """Return a bound that HiGHS gave for the minimized objective without its constant, as the problem means it."""
    import pulp

    sign = -1.0 if problem.sense == pulp.LpMaximize else 1.0
    return sign * float(bound) + float(problem.objective.constant)


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
