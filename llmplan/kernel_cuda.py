"""Times planned rows on CUDA devices with PyTorch: graphs of many calls, replayed, and the median between events.

A row is called three times, captured into a graph of whole rounds over its sets of buffers, long enough that the
start of a graph does not count, and replayed for half a second (5 to 1,000 times); its time is the median span of a
replay over the calls in it. Power is the energy that NVML counts over these replays. No setting of the GPU changes.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from llmplan.errors import InputError
from llmplan.kernel_bench import Implementation, OutOfMemoryError, Timing, UnsupportedError
from llmplan.kernel_ops import Call, Quantize, prepared, quantized
from llmplan.kernel_plan import Planned

OLDEST = (2, 5)
"""The first PyTorch whose attention takes fewer KV heads than heads."""
WARM_UPS, MOST_CALLS = 3, 2048
GRAPH_S, MEASURED_S = 2e-3, 0.5
FEWEST_REPLAYS, MOST_REPLAYS = 5, 1000
MILLISECOND = 1e-3
MILLIJOULE = 1e-3
SHORTEST_POWER_S = 0.2
"""NVML counts energy in steps of up to 0.1 s."""
FIRST_LINE = 120


def opened() -> CudaBench:
    """Return the GPUs of this machine.

    Raises
    ------
    InputError
        There is no PyTorch, one that is too old, or no CUDA device.
    """
    try:
        import torch
    except ImportError:
        raise InputError("calibrate run: needs PyTorch; pip install 'llmplan[calibrate]'") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST:
        raise InputError(f"calibrate run: PyTorch {torch.__version__} is too old; want 2.5 or newer")
    if not torch.cuda.is_available():
        raise InputError("calibrate run: PyTorch sees no CUDA device; --plan-only prints the rows without one")
    return CudaBench()


class CudaBench:
    """The first CUDA device for kernels, all of them for collectives."""

    def __init__(self) -> None:
        import torch

        self.name: str = torch.cuda.get_device_name(0)
        self.devices: int = torch.cuda.device_count()
        self.version = f"{torch.__version__} cuda {torch.version.cuda}"
        self._counter = energy_counter(str(getattr(torch.cuda.get_device_properties(0), "uuid", "")))
        self.driver = "" if self._counter is None else self._counter[0]
        self._quantize, self._quantizer = fused_quantize()
        self._paged, self._decoder = paged_attention()
        self._group: Any = None

    def implementation(self, row: Planned) -> Implementation:
        """Return whose kernel a row would run."""
        if row.file == "attn_decode" and self._decoder is not None:
            return self._decoder
        if row.file == "comm":
            import torch

            nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
            return Implementation(kernel="nccl", backend="torch", version=f"{self.version} nccl {nccl}")
        kernels = {"gemm": "cublas", "attn_prefill": "torch_sdpa_flash", "attn_decode": "torch_sdpa"}
        kernel = kernels.get(row.file, f"torch_{row.cell[0]}")
        if row.cell == ("gemm", "fp8"):
            kernel = self._quantizer
        return Implementation(kernel=kernel, backend="torch", version=self.version)

    def timed(self, row: Planned, copies: int) -> Timing:
        """Return the time of one call."""
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        try:
            if row.file == "comm":
                return self._together(row)
            return self._replayed(prepared(row, copies, "cuda", self._quantize, self._paged))
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(_first_line(error)) from None
        except (RuntimeError, ValueError) as error:
            _check_alive(error)
            raise UnsupportedError(_first_line(error)) from None

    def _replayed(self, calls: Sequence[Call]) -> Timing:
        warm_up(calls)
        one = statistics.median(spans_s(graph_of(calls, 1), FEWEST_REPLAYS))
        rounds = max(1, min(math.ceil(GRAPH_S / one), MOST_CALLS // len(calls)))
        graph = graph_of(calls, rounds)
        spans_s(graph, WARM_UPS)
        replays = min(max(math.ceil(MEASURED_S / (one * rounds)), FEWEST_REPLAYS), MOST_REPLAYS)
        before_j, start = self._energy_j(), time.perf_counter()
        spans = spans_s(graph, replays)
        after_j, elapsed_s = self._energy_j(), time.perf_counter() - start
        power_w = None
        if before_j is not None and after_j is not None and elapsed_s >= SHORTEST_POWER_S:
            power_w = (after_j - before_j) / elapsed_s
        return Timing(seconds=statistics.median(spans) / (rounds * len(calls)), power_w=power_w)

    def _energy_j(self) -> float | None:
        return None if self._counter is None else self._counter[1]()

    def _together(self, row: Planned) -> Timing:
        """Return the time of a collective: that of its slowest rank."""
        from llmplan.kernel_ranks import RankGroup

        op, _, ranks, _, size = row.key
        if self._group is None or self._group.ranks != ranks:
            self.close()
            self._group = RankGroup(int(ranks))
        try:
            return Timing(seconds=self._group.seconds(str(op), int(size)))
        except (UnsupportedError, KeyboardInterrupt):
            self.close()
            raise

    def close(self) -> None:
        """End the processes of collectives."""
        if self._group is not None:
            self._group.close()
            self._group = None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:FIRST_LINE]


def _check_alive(error: BaseException) -> None:
    """Stop where an error has broken the device for good."""
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError:
        raise InputError(f"the GPU stopped answering ({_first_line(error)}); run the same command to go on") from None


def warm_up(calls: Sequence[Call]) -> None:
    """Run the calls on a stream of their own, as capture wants it."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            for call in calls:
                call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()


def graph_of(calls: Sequence[Call], rounds: int) -> Any:
    """Return a graph of some rounds over the calls."""
    import torch

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(rounds):
            for call in calls:
                call()
    return graph


def spans_s(graph: Any, replays: int) -> list[float]:
    """Return the time of each of several replays that follow one another. [s]"""
    import torch

    marks = [torch.cuda.Event(enable_timing=True) for _ in range(replays + 1)]
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) * MILLISECOND for a, b in pairwise(marks)]


def fused_quantize() -> tuple[Quantize, str]:
    """Return what quantizes activations, fused into one kernel where a compiler is there, and the kernel's name."""
    import torch

    fused = torch.compile(quantized, dynamic=True, fullgraph=True)
    try:
        for rows in (1, 7, 32):
            fused(torch.ones(rows, 64, dtype=torch.bfloat16, device="cuda"))
    except (RuntimeError, ImportError, OSError):
        return quantized, "torch_scaled_mm_unfused"
    return fused, "torch_scaled_mm"


def paged_attention() -> tuple[Any, Implementation | None]:
    """Return vLLM's FlashAttention where it is installed, and its name as the shipped rows have it."""
    try:
        import vllm
        from vllm.vllm_flash_attn import flash_attn_varlen_func
        from vllm.vllm_flash_attn.flash_attn_interface import is_fa_version_supported
    except ImportError:
        return None, None
    version = 3 if is_fa_version_supported(3) else 2
    kernel = "vllm_flash_attn_fa3" if version == 3 else "vllm_flash_attn"
    known = Implementation(kernel=kernel, backend="vllm", version=vllm.__version__)
    return partial(flash_attn_varlen_func, fa_version=version), known


def energy_counter(uuid: str) -> tuple[str, Callable[[], float | None]] | None:
    """Return the driver's version and a reader of the energy that a GPU has drawn [J]; None without NVML."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        driver = str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None

    def drawn_j() -> float | None:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * MILLIJOULE
        except pynvml.NVMLError:
            return None

    return driver, drawn_j
