"""Routed experts of one rank: route, sort, two grouped products, combine.

For T tokens of width H, E experts on the rank, r rows of them, width I, G inputs of the gate (2 gated, 1 not)::

    tiles   = Σ_experts ceil(rows/b_m)                          counted by `routing`, not expected
    compute = Σ_products ceil(tiles·ceil(N/b_n)/S)·(2·b_m·b_n·K/(F/S·e_c) + t_wave)          least over b_m, b_n
    memory  = weights of active experts / (B·e_m) · (miss + (1 − miss)/3)
    route   = passes·(4·T·H + 4·r·H + 6·r·I)/B                  activations: read, sorted, between products, combined
    t       = t_0 + t_few·min(T·k, 64)/64 + t_row·T·k + (compute^p + memory^p)^(1/p) + route

Limits: the kernel's name decides more than its shape (FlashInfer CUTLASS in fp8 on Hopper: eight times the roofline).
"""

from __future__ import annotations

import numpy as np

from llmplan.perf.kernels.chip import L2_BANDWIDTH, Chip, Parameter, Parameters, Value, missed, soft_max
from llmplan.perf.kernels.routing import ROW_TILES, Routed
from llmplan.perf.roofline import Floats

COLUMN_TILES = (64.0, 128.0, 256.0)
STEEPNESS = 4.0
FEW_CHOICES = 64.0

PARAMETERS = (
    Parameter(name="fixed_s", start=1.5e-5, low=2e-7, high=2e-4, means="empty kernels, routing to combine"),
    Parameter(name="few_s", start=1.5e-5, low=1e-8, high=2e-4, means="routing once 64 choices are made"),
    Parameter(name="row_s", start=5e-10, low=1e-12, high=1e-7, means="one choice of a token"),
    Parameter(name="compute_efficiency", start=0.6, low=0.02, high=1.0, means="share of peak in a full wave"),
    Parameter(name="memory_efficiency", start=0.85, low=0.05, high=1.0, means="share of bandwidth reading weights"),
    Parameter(name="overlap", start=2.5, low=1.0, high=12.0, means="sharpness of arithmetic over traffic"),
    Parameter(name="wave_s", start=8e-7, low=1e-8, high=2e-5, means="latency of a wave of tiles"),
    Parameter(name="route_passes", start=3.0, low=0.05, high=50.0, means="traffic of activations over the least"),
    Parameter(name="l2_share", start=0.2, low=0.02, high=2.0, means="share of L2 that keeps weights"),
)


def seconds(
    tokens: Value,
    hidden: Value,
    inter: Value,
    topk: Value,
    gate_inputs: Value,
    routed: Routed,
    weight_bytes: Value,
    chip: Chip,
    p: Parameters,
    cold: bool = False,
) -> Floats:
    """Return the time of the routed experts of one rank.

    Parameters
    ----------
    tokens, hidden, topk : array or float
        Tokens of the step, their width, experts of one token.
    inter : array or float
        Width of one expert on this rank.
    gate_inputs : array or float
        Matrices before the activation: 2 for gated experts, 1 for others.
    routed : Routed
        Rows, active experts and tiles of the rank.
    weight_bytes : array or float
        Bytes of one weight, scales included. [B]
    chip : Chip
        Peaks of the device, at the compute type of the format.
    p : mapping
        `PARAMETERS`.
    cold : bool
        Nothing is in L2, as in a step of a model.

    Returns
    -------
    array [s]
    """
    tokens, hidden, inter, topk, gate_inputs = (
        np.asarray(x, dtype=float) for x in (tokens, hidden, inter, topk, gate_inputs)
    )
    best = np.asarray(np.inf)
    for height in ROW_TILES:
        for width in COLUMN_TILES:
            total = np.zeros(np.broadcast_shapes(tokens.shape, routed.rows.shape))
            for columns, inner in ((gate_inputs * inter, hidden), (hidden, inter)):
                waves = np.ceil(routed.tiles[height] * np.ceil(columns / width) / chip.multiprocessors)
                one = 2.0 * height * width * inner / (chip.unit_flop_per_s * p["compute_efficiency"])
                total = total + waves * (one + p["wave_s"] * chip.latency)
            best = np.minimum(best, total)
    weights = routed.active * (gate_inputs + 1) * hidden * inter * weight_bytes
    miss = 1.0 if cold else missed(weights, chip, p["l2_share"], STEEPNESS)
    memory = weights * (miss + (1 - miss) / L2_BANDWIDTH) / (chip.bytes_per_s * p["memory_efficiency"])
    carried = 4.0 * tokens * hidden + 4.0 * routed.rows * hidden + 6.0 * routed.rows * inter
    choices = tokens * topk
    fixed = p["fixed_s"] + p["few_s"] * np.minimum(choices, FEW_CHOICES) / FEW_CHOICES + p["row_s"] * choices
    return np.asarray(
        fixed * chip.latency + soft_max(best, memory, p["overlap"]) + p["route_passes"] * carried / chip.bytes_per_s
    )
