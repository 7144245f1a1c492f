"""How rows are timed: on a toy of PyTorch's CUDA interface with a toy clock, and the calls on a CPU with PyTorch."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
import types

import pytest

from llmplan import kernel_cuda, kernel_ranks
from llmplan.errors import InputError
from llmplan.kernel_bench import OutOfMemoryError, UnsupportedError
from llmplan.kernel_ops import prepared
from llmplan.kernel_plan import Planned

PRODUCT = Planned(file="gemm", l2="warm", key=("bfloat16", 3, 32, 16))
NEEDS_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")


class ToyTorch(types.ModuleType):
    """As much of PyTorch as the timing uses: a graph takes the sum of its calls, and a gap."""

    OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})
    __version__ = "2.9.0+cu128"

    def __init__(self, call_s: float, gap_s: float = 0.0) -> None:
        super().__init__("torch")
        self.clock_s, self.call_s, self.gap_s = 0.0, call_s, gap_s
        self.capturing: list[int] | None = None
        self.called, self.replays, self.graphs = 0, 0, []
        self.version = types.SimpleNamespace(cuda="12.8")
        toy = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at_s = toy.clock_s

            def elapsed_time(self, other: Event) -> float:
                return (other.at_s - self.at_s) * 1e3

        class Graph:
            calls = 0

            def replay(self) -> None:
                toy.replays += 1
                toy.clock_s += self.calls * toy.call_s + toy.gap_s

        @contextlib.contextmanager
        def graph(into: Graph, capture_error_mode: str):
            assert capture_error_mode == "thread_local"
            toy.capturing = []
            yield
            into.calls, toy.capturing = len(toy.capturing), None
            toy.graphs.append(into.calls)

        stream = types.SimpleNamespace(wait_stream=lambda _other: None)
        self.cuda = types.SimpleNamespace(
            Event=Event, CUDAGraph=Graph, graph=graph, Stream=lambda: stream, current_stream=lambda: stream,
            stream=lambda _one: contextlib.nullcontext(), synchronize=lambda: None, empty_cache=lambda: None,
            is_available=lambda: True, get_device_name=lambda _index: "NVIDIA H100 80GB HBM3", device_count=lambda: 1,
            get_device_properties=lambda _index: types.SimpleNamespace(uuid="0"),
            nccl=types.SimpleNamespace(version=lambda: (2, 27, 3)),
        )  # fmt: skip

    def compile(self, function, dynamic: bool, fullgraph: bool):
        assert dynamic
        assert fullgraph
        return function

    def call(self) -> None:
        if self.capturing is None:
            self.called += 1
        else:
            self.capturing.append(1)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch):
    """PyTorch with kernels of 10 us, without NVML and vLLM, and calls that do nothing but take time."""
    torch = ToyTorch(call_s=1e-5)
    for name, module in (("torch", torch), ("pynvml", None), ("vllm", None)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(kernel_cuda, "fused_quantize", lambda: (lambda x: (x, x), "torch_scaled_mm"))
    monkeypatch.setattr(kernel_cuda, "prepared", lambda _row, copies, *_rest: [torch.call] * copies)
    return torch


@pytest.mark.parametrize("call_s", [2e-6, 1e-5, 3e-3, 0.2])
@pytest.mark.parametrize("copies", [1, 6, 1000])
def test_the_time_of_a_call_does_not_depend_on_how_often_it_is_run(call_s: float, copies: int, toy: ToyTorch) -> None:
    toy.call_s = call_s
    assert kernel_cuda.opened().timed(PRODUCT, copies).seconds == pytest.approx(call_s)
    assert toy.called == 3 * copies
    assert len(toy.graphs) == 2
    assert toy.graphs[0] == copies
    assert toy.graphs[1] % copies == 0
    assert toy.graphs[1] <= 2048
    assert toy.replays >= 5 + 3 + 5


def test_the_start_of_a_graph_hardly_counts(toy: ToyTorch) -> None:
    """10 us before each graph of 2 ms are half a percent, and what runs once is the median of many."""
    toy.gap_s = 1e-5
    assert kernel_cuda.opened().timed(PRODUCT, 6).seconds == pytest.approx(1e-5, rel=0.02)


def test_short_kernels_are_measured_for_half_a_second(toy: ToyTorch) -> None:
    kernel_cuda.opened().timed(PRODUCT, 6)
    assert 0.45 <= toy.clock_s <= 0.6


def test_power_is_the_energy_of_the_replays_over_their_time(toy: ToyTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 W by a counter in millijoules; the toy clock is the wall's."""
    nvml = types.ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    nvml.nvmlSystemGetDriverVersion = lambda: "575.57"
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda _handle: int(toy.clock_s * 400 * 1000)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(time, "perf_counter", lambda: toy.clock_s)
    bench = kernel_cuda.opened()
    assert bench.driver == "575.57"
    assert bench.timed(PRODUCT, 6).power_w == pytest.approx(400, rel=0.01)


@pytest.mark.parametrize("missing", ["module", "device", "counter"])
def test_without_nvml_the_power_is_empty(missing: str, toy: ToyTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = types.ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})

    def no(*_given: object) -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByUUID = no if missing == "device" else str
    nvml.nvmlSystemGetDriverVersion = lambda: "1"
    nvml.nvmlDeviceGetTotalEnergyConsumption = no
    monkeypatch.setitem(sys.modules, "pynvml", None if missing == "module" else nvml)
    bench = kernel_cuda.opened()
    assert bench.driver == ("1" if missing == "counter" else "")
    assert bench.timed(PRODUCT, 6).power_w is None
    assert toy.called


def raising(error: Exception):
    def fail(*_given: object) -> list[object]:
        raise error

    return fail


def test_a_row_that_is_too_large_or_unknown_is_told_apart(toy: ToyTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = kernel_cuda.opened()
    monkeypatch.setattr(kernel_cuda, "prepared", raising(toy.OutOfMemoryError("CUDA out of memory. Tried")))
    with pytest.raises(OutOfMemoryError):
        bench.timed(PRODUCT, 6)
    monkeypatch.setattr(kernel_cuda, "prepared", raising(RuntimeError("No available kernel.\nmore")))
    with pytest.raises(UnsupportedError, match=r"\ANo available kernel.\Z"):
        bench.timed(PRODUCT, 6)


def test_a_broken_device_ends_the_run(toy: ToyTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = kernel_cuda.opened()
    monkeypatch.setattr(kernel_cuda, "prepared", raising(RuntimeError("an illegal memory access")))
    toy.cuda.synchronize = raising(RuntimeError("an illegal memory access"))
    with pytest.raises(InputError, match=r"the GPU stopped answering .an illegal memory access.; run the same"):
        bench.timed(PRODUCT, 6)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ("none", "calibrate run: needs PyTorch; pip install 'llmplan[calibrate]'"),
        ("old", "calibrate run: PyTorch 2.4.1 is too old; want 2.5 or newer"),
        ("blind", "calibrate run: PyTorch sees no CUDA device; --plan-only prints the rows without one"),
    ],
)
def test_a_machine_that_cannot_measure_says_so(
    spoiled: str, said: str, toy: ToyTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spoiled == "none":
        monkeypatch.setitem(sys.modules, "torch", None)
    toy.__version__ = "2.4.1" if spoiled == "old" else toy.__version__
    toy.cuda.is_available = lambda: spoiled != "blind"
    with pytest.raises(InputError) as error:
        kernel_cuda.opened()
    assert str(error.value) == said


@pytest.mark.usefixtures("toy")
def test_kernels_have_the_names_of_those_who_run_them(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Planned(file="attn_decode", l2="warm", key=("bfloat16", 1, 15, 4, 2, 64, 0))
    rows = {
        PRODUCT: "cublas",
        Planned(file="gemm", l2="warm", key=("fp8", 3, 32, 16)): "torch_scaled_mm",
        Planned(file="attn_prefill", l2="warm", key=("bfloat16", 1, 16, 0, 4, 2, 64, 0)): "torch_sdpa_flash",
        decode: "torch_sdpa",
        Planned(file="memory", l2="warm", key=("copy", 65536)): "torch_copy",
    }
    bench = kernel_cuda.opened()
    assert {row: bench.implementation(row).kernel for row in rows} == rows
    assert bench.implementation(PRODUCT).version == "2.9.0+cu128 cuda 12.8"
    comm = Planned(file="comm", l2="warm", key=("all_reduce", "float16", 2, "intra_node", 256))
    assert bench.implementation(comm).kernel == "nccl"
    assert bench.implementation(comm).version.endswith("nccl 2.27.3")
    vllm = types.ModuleType("vllm")
    vllm.__version__ = "0.24.0"
    inner = types.ModuleType("vllm.vllm_flash_attn")
    inner.flash_attn_varlen_func = lambda *_given, fa_version: fa_version
    deeper = types.ModuleType("vllm.vllm_flash_attn.flash_attn_interface")
    deeper.is_fa_version_supported = lambda version: version == 2
    for module in (vllm, inner, deeper):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    told = kernel_cuda.opened().implementation(decode)
    assert (told.kernel, told.backend, told.version) == ("vllm_flash_attn", "vllm", "0.24.0")


@pytest.mark.parametrize("size_bytes", [256, 2**20, 2**27, 2**30])
def test_long_messages_are_sent_less_often(size_bytes: int) -> None:
    calls, replays = kernel_ranks.repeats(size_bytes)
    assert 1 <= calls <= 20
    assert 5 <= replays <= 20
    assert calls * replays * size_bytes <= 32 * 2**30


@NEEDS_TORCH
@pytest.mark.parametrize("l2", ["warm", "cold"])
@pytest.mark.parametrize(
    ("file", "key", "shape"),
    [
        ("gemm", ("bfloat16", 3, 32, 16), (3, 32)),
        ("gemm", ("fp8", 3, 32, 16), (3, 32)),
        ("attn_prefill", ("bfloat16", 2, 33, 0, 4, 2, 64, 0), (2, 4, 33, 64)),
        ("attn_prefill", ("bfloat16", 1, 16, 0, 4, 4, 64, 0), (1, 4, 16, 64)),
        ("attn_decode", ("bfloat16", 2, 15, 4, 2, 64, 0), (2, 4, 1, 64)),
        ("memory", ("copy", 65536), (32768,)),
        ("memory", ("read", 65536), ()),
    ],
)
def test_calls_run_and_have_the_shape_of_their_row(file, key, shape, l2) -> None:
    calls = prepared(Planned(file=file, l2=l2, key=key), 3, "cpu")
    assert [tuple(call().shape) for call in calls] == [shape] * 3


@NEEDS_TORCH
def test_a_product_in_fp8_is_the_product() -> None:
    import torch

    from llmplan.kernel_ops import quantized

    x = torch.randn(5, 64, dtype=torch.bfloat16)
    values, scale = quantized(x)
    assert scale.shape == (5, 1)
    assert ((values.float() * scale - x.float()).abs() <= x.abs().float() / 14 + scale).all()


@NEEDS_TORCH
def test_prefill_writes_every_key_to_a_place_of_its_own() -> None:
    from llmplan.kernel_ops import _slots

    slots = _slots(70, "cpu")
    assert len(set(slots.tolist())) == 70
    assert int(slots.max()) < 80


@NEEDS_TORCH
def test_paged_decode_hands_over_a_whole_cache() -> None:
    seen = {}

    def paged(q, keys, values, **given):
        seen.update(given, q=q, keys=keys, values=values)
        return q

    row = Planned(file="attn_decode", l2="warm", key=("bfloat16", 3, 16, 4, 2, 64, 0))
    (call,) = prepared(row, 1, "cpu", paged=paged)
    call()
    assert seen["q"].shape == (3, 4, 64)
    assert seen["keys"].shape == seen["values"].shape == (6, 16, 2, 64)
    assert sorted(seen["block_table"].flatten().tolist()) == list(range(6))
    assert seen["seqused_k"].tolist() == [17] * 3
    assert seen["cu_seqlens_q"].tolist() == [0, 1, 2, 3]
