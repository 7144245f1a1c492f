"""Candidates that another one beats everywhere: dropped before the solver sees them, each with an Excuse.

Within one GPU type, c' dominates c when its size divides c's, it fits wherever c fits, and its capacity per GPU is no
smaller for any bucket. Without divisibility whole replicas of c' may cost more, so c stays.
"""

from __future__ import annotations

import numpy as np

from llmplan.plan.candidates import Evaluated
from llmplan.spec.plan import Excuse


def undominated(evaluated: Evaluated) -> tuple[list[int], list[Excuse]]:
    """Return the rows of candidates worth a column, in order, and an Excuse for each dominated one."""
    sizes = np.array([c.deployment.gpus for c in evaluated.candidates])
    per_gpu = evaluated.capacity / sizes[:, None]
    able = np.flatnonzero(np.any(per_gpu > 0, axis=1))
    order = sorted(able, key=lambda c: (int(sizes[c]), -float(per_gpu[c].sum()), evaluated.candidates[c].name))
    kept: list[int] = []
    excuses = []
    for row in order:
        mine = evaluated.candidates[row]
        for other in kept:
            theirs = evaluated.candidates[other]
            same = theirs.kind.gpu.name == mine.kind.gpu.name and theirs.hosts == 1
            if same and sizes[row] % sizes[other] == 0 and np.all(per_gpu[other] >= per_gpu[row]):
                ratio = float(np.max(per_gpu[row] / np.maximum(per_gpu[other], 1e-300)))
                more = f"{100 * (1 / max(ratio, 1e-9) - 1):.0f} %"
                said = f"{theirs.name} serves at least {more} more per GPU on every bucket"
                excuses.append(Excuse(candidate=mine.name, reason="dominated", message=said))
                break
        else:
            kept.append(int(row))
    return sorted(kept), excuses
