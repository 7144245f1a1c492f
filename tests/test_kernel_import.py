"""Foreign measurements as rows of our own: what a size, a time and a name mean, what is refused and why."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmplan.cli.measured import targets
from llmplan.errors import InputError, LlmplanError
from llmplan.foreign_rows import Asked, Source, Table
from llmplan.kernel_import import Imported, form_of, imported
from llmplan.kernel_rows import measured_rows
from llmplan.spec.catalog import Catalog

CATALOG = Catalog()
TARGETS = targets(CATALOG)
FOREIGN = Path(__file__).parent / "data" / "foreign"
LAYER = FOREIGN / "compute" / "a100" / "acme" / "tiny-1b"
ALL = sorted(path for path in FOREIGN.rglob("*.*") if path.is_file())
HEADER = """#
#                                                       out-of-place                       in-place
#       size      count   type  redop  root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B) (elements)                        (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
RANKS = "".join(f"#  Rank  {i} Group  0 Pid  7 on box device  {i} [0x1b] NVIDIA H100 80GB HBM3\n" for i in range(4))
GOOD = " 1048576     524288   half    sum    -1    22.47   46.67   70.00       0    22.76   46.07   69.11       0\n"


def gpu_of(device: str) -> str | None:
    try:
        return CATALOG.gpu(device).name
    except LlmplanError:
        return None


def taken(*sources: Source, gpu: str = "h100-sxm", form: str = "auto", **asked: str | None) -> Imported:
    return imported(sources, form, Asked(gpu=gpu, gpu_of=gpu_of, **asked), TARGETS)


def file(path: Path) -> Source:
    return Source(where=str(path), text=path.read_text("utf-8"))


def gpu_for(path: Path) -> str:
    vidur = path.parent == LAYER or path.name == "all_reduce.csv"
    return "a100-80-sxm" if vidur else "h100-sxm"


def rows(found: Imported, kind: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(found.texts[f"{kind}.csv"])))


def nccl(
    body: str = GOOD, ranks: str = RANKS, header: str = HEADER, where: str = "all_reduce.txt", **asked
) -> Imported:
    return taken(Source(where=where, text=f"# nThread 1 nGpus 4 minBytes 8\n{ranks}{header}{body}"), **asked)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_readers_take_or_name_every_row_that_was_imported(path):
    found = taken(file(path), gpu=gpu_for(path))
    read = measured_rows(found.texts.items(), TARGETS)
    assert {one.name: one.rows for one in read.files} == found.rows
    assert sum(len(cell.measured_s) for cell in read.cells) == sum(found.rows.values()) - found.unread.total()
    assert set(found.unread) <= {"no_form"}
    assert {cell.gpu for cell in read.cells} == {gpu_for(path)}


def test_runs_of_nccl_tests_have_their_own_test_ranks_and_link():
    found = rows(taken(file(FOREIGN / "nccl-tests.txt")), "comm")
    places = {(r["op"], r["dtype"], r["ranks"], r["link"], r["version"]) for r in found}
    assert places == {
        ("all_reduce", "float16", "4", "intra_node", "2.29.3"),
        ("all_gather", "bfloat16", "16", "inter_node", "2.29.3"),
        ("send_recv", "int8", "2", "intra_node", "2.29.3"),
    }
    first = found[0]
    assert (first["system"], first["backend"], first["bytes"], first["time_us"]) == (
        "h100-sxm", "nccl", "65536", "17.72",
    )  # fmt: skip


def test_an_old_text_is_named_by_its_file_or_the_option():
    old = file(FOREIGN / "alltoall_8gpu.txt")
    found = taken(old)
    assert {(r["op"], r["ranks"], r["version"]) for r in rows(found, "comm")} == {("all_to_all", "8", "2.23.4")}
    assert found.refused == {"unknown_dtype": 2}
    nameless = Source(where="log.txt", text=old.text)
    assert {r["op"] for r in rows(taken(nameless, op="all_gather"), "comm")} == {"all_gather"}
    with pytest.raises(InputError, match=r"^log.txt: does not say which test ran; give --op all_reduce"):
        taken(nameless)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD.replace("half", "float"), "unknown_dtype"),
        (GOOD.replace("22.47", "0.02"), "inconsistent"),
        (GOOD.replace("22.47", "-1.0"), "no_time"),
        (GOOD.replace("22.47", "soon"), "no_time"),
        (GOOD.replace("70.00       0", "70.00       3"), "wrong_result"),
        (GOOD[:60] + "\n", "malformed"),
        (GOOD.replace(" 1048576", "       0"), "malformed"),
    ],
)
def test_a_line_of_nccl_tests_that_cannot_be_used_is_counted(row, reason):
    found = nccl(GOOD + row)
    assert found.refused == {reason: 1}
    assert found.rows == {"comm.csv": 1}


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        ("", "no_ranks"),
        (RANKS.replace("Rank  3", "Rank  7"), "no_ranks"),
        (RANKS.splitlines(keepends=True)[0], "one_rank"),
        (RANKS.replace("H100 80GB HBM3", "H200"), "other_gpu"),
        (RANKS.replace("H100 80GB HBM3", "H100 80GB HBM3 MIG 1g.10gb"), "other_gpu"),
        (RANKS.replace("3 Group  0", "3 Group  1"), "split_groups"),
    ],
)
def test_ranks_that_cannot_be_told_are_a_reason(ranks, reason):
    with pytest.raises(InputError, match=f"^no row can be used: 1 {reason}; {reason}: "):
        nccl(ranks=ranks)


def test_lines_tagged_by_mpirun_and_a_device_nobody_knows_are_read():
    tagged = "".join(
        f"[1,0]<stdout>:{line}"
        for line in (RANKS.replace("NVIDIA H100 80GB HBM3", "X1") + HEADER + GOOD).splitlines(True)
    )
    assert taken(Source(where="all_reduce.log", text=tagged)).rows == {"comm.csv": 1}


def test_processor_times_and_tests_without_a_form_are_refused():
    for found in (
        {"header": HEADER.replace(" time", " cputime")},
        {"ranks": "# Collective test starting: broadcast_perf\n" + RANKS},
        {"header": HEADER.replace(" size", " sice")},
    ):
        with pytest.raises(InputError, match=r"^no row can be used: 1 (cpu_time|unknown_op|malformed)(; |$)"):
            nccl(**found)


def test_a_text_in_another_unit_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"^all_reduce.txt:9: times are in ms; want us$"):
        nccl(header=HEADER.replace("(us)", "(ms)"))


def test_layers_of_vidur_become_products_of_one_rank_and_passes():
    found = taken(file(LAYER / "mlp.csv"), gpu="a100-80-sxm")
    shapes = {(r["n"], r["k"]) for r in rows(found, "gemm")}
    whole = {("3072", "2048"), ("2048", "2048"), ("16384", "2048"), ("2048", "8192")}
    halves = {("1536", "2048"), ("2048", "1024"), ("8192", "2048"), ("2048", "4096")}
    assert shapes == whole | halves
    assert {(r["dtype"], r["backend"]) for r in rows(found, "gemm")} == {("bfloat16", "vidur")}
    passes = rows(found, "vidur_elementwise")
    assert {r["model"] for r in passes} == {"acme/tiny-1b"}
    assert len({r["op"] for r in passes}) == 6
    assert any("bfloat16: same width and rate" in note for note in found.notes)
    with (LAYER / "mlp.csv").open(encoding="utf-8") as text:
        first = next(csv.DictReader(text))
    told = next(r for r in rows(found, "gemm") if (r["m"], r["n"]) == (first["num_tokens"], "16384"))
    assert float(told["time_us"]) == pytest.approx(1e3 * float(first["time_stats.mlp_up_proj.median"]), rel=1e-4)


def test_an_activation_without_gate_is_no_form_of_ours():
    text = (LAYER / "mlp.csv").read_text("utf-8").replace("True", "False")
    found = taken(Source(where="mlp.csv", text=text), gpu="a100-80-sxm")
    assert found.refused == {"ungated": 8}
    assert "8192" in {r["n"] for r in rows(found, "gemm")}
    assert {r["model"] for r in rows(found, "vidur_elementwise")} == {"unnamed"}


def test_attention_of_vidur_has_cached_prefixes_and_the_write_of_kv():
    found = taken(file(LAYER / "attention.csv"), gpu="a100-80-sxm")
    prefill, decode = rows(found, "attn_prefill"), rows(found, "attn_decode")
    assert {(r["seq_len"], r["prefix_len"]) for r in prefill} >= {("1024", "1024"), ("128", "0")}
    assert {(r["heads"], r["kv_heads"], r["head_dim"], r["kernel"]) for r in decode} == {
        ("16", "4", "128", "flashinfer"),
        ("8", "2", "128", "flashinfer"),
    }
    with (LAYER / "attention.csv").open(encoding="utf-8") as text:
        first = next(csv.DictReader(text))
    parts = (first[f"time_stats.{op}.median"] for op in ("attn_prefill", "attn_kv_cache_save"))
    assert float(prefill[0]["time_us"]) == pytest.approx(1e3 * sum(map(float, parts)), rel=1e-4)


def test_ranks_beyond_a_node_of_vidur_are_between_nodes():
    found = rows(taken(file(FOREIGN / "all_reduce.csv"), gpu="a100-80-sxm"), "vidur_comm")
    assert {(r["ranks"], r["devices_per_node"], r["link"]) for r in found} == {
        ("2", "2", "intra_node"),
        ("4", "4", "intra_node"),
        ("4", "2", "inter_node"),
    }


def test_messages_of_aiconfigurator_are_counted_in_bytes():
    found = rows(taken(file(FOREIGN / "nccl_perf.csv")), "comm")
    assert {(r["dtype"], r["bytes"]) for r in found if r["ranks"] == "2"} == {
        (dtype, str(n * width)) for dtype, width in (("float16", 2), ("int8", 1)) for n in (4**k for k in range(6, 16))
    }
    assert {(r["op"], r["backend"], r["version"]) for r in found} == {
        ("all_reduce", "nccl", "2.29.2"),
        ("all_to_all", "nccl", "2.29.2"),
    }
    assert found[0]["time_us"] == "12.032"


def test_custom_all_reduces_keep_their_kernel_or_are_operators():
    found = rows(taken(file(FOREIGN / "custom_allreduce_perf.csv")), "comm")
    assert {(r["backend"], r["op"], r["kernel"]) for r in found} == {
        ("vllm", "all_reduce_vllm_graph", ""),
        ("vllm", "all_reduce_vllm_eager", ""),
        ("sglang", "all_reduce", "SGLang_custom_graph"),
        ("sglang", "all_reduce", "SGLang_custom_eager"),
    }


def test_products_of_aiconfigurator_are_merged_or_refused_by_reason():
    found = taken(file(FOREIGN / "gemm_perf.txt"))
    assert (found.merged, found.rows) == (1, {"gemm.csv": 12})
    assert found.refused == {"malformed": 1, "other_gpu": 1, "unknown_dtype": 1}
    twice = next(r for r in rows(found, "gemm") if (r["m"], r["n"], r["dtype"]) == ("16", "1024", "bfloat16"))
    with (FOREIGN / "gemm_perf.txt").open(encoding="utf-8") as text:
        measured = [
            1e3 * float(r["latency"]) for r in csv.DictReader(text)
            if (r["m"], r["n"], r["gemm_dtype"]) == ("16", "1024", "bfloat16")
        ]  # fmt: skip
    assert float(twice["time_us"]) == pytest.approx(sum(measured) / 2, rel=1e-4)


def test_attention_of_aiconfigurator_says_which_tokens_are_new():
    prefill = rows(taken(file(FOREIGN / "context_attention_perf.csv")), "attn_prefill")
    assert {(r["kernel"], r["kv_dtype"]) for r in prefill} == {
        ("flash_attn_fa3", "bfloat16"),
        ("flash_attn_fa3", "fp8"),
        ("flash_attn_fa3_fp8", "fp8"),
    }
    assert {r["prefix_len"] for r in prefill} == {"0"}
    decode = rows(taken(file(FOREIGN / "generation_attention_perf.csv")), "attn_decode")
    assert [(r["ctx_len"], r["window"]) for r in decode] == [("1023", "0"), ("4095", "0"), ("8191", "0")]
    latent = rows(taken(file(FOREIGN / "generation_mla_perf.csv")), "mla_decode")
    assert [(r["ctx_len"], r["heads"]) for r in latent] == [("2047", "16"), ("8191", "16")]


def test_experts_that_cannot_be_are_not_written():
    found = taken(file(FOREIGN / "moe_perf.csv"))
    assert found.refused == {"impossible_shape": 1, "unknown_distribution": 1}
    assert {r["ep"] for r in rows(found, "moe")} == {"1", "8"}


def test_a_table_of_columns_is_read_like_text():
    text = file(FOREIGN / "gemm_perf.txt")
    header, *lines = csv.reader(io.StringIO(text.text))
    table = Table(where="t", columns=header, rows=lines)
    assert taken(Source(where="t.parquet", table=table)).texts == taken(text).texts


def test_what_a_file_does_not_say_comes_from_the_options():
    text = "op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,16,4096,4096,0.02\n"
    (row,) = rows(taken(Source(where="g.csv", text=text), backend="mine", version="7"), "gemm")
    assert (row["backend"], row["version"]) == ("mine", "7")
    with pytest.raises(InputError, match=r"^g.csv: has no column framework; give --backend NAME$"):
        taken(Source(where="g.csv", text=text))


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_file_in_another_unit_is_refused_also_beside_a_good_one(factor):
    header, *lines = (FOREIGN / "gemm_perf.txt").read_text("utf-8").splitlines()
    bent = [f"{rest},{float(last) * factor}" for rest, _, last in (line.rpartition(",") for line in lines)]
    wrong = Source(where="bent.csv", text="\n".join([header, *bent]))
    with pytest.raises(InputError, match=r"^bent.csv: times for gemm.csv are outside of 0.05 to 1000 times the roof"):
        taken(file(FOREIGN / "gemm_perf.txt"), wrong)


def test_a_text_of_small_messages_is_taken_beside_one_of_larger_and_not_alone():
    small = "".join(f" {8 << i}  4  half  sum  -1  9.80  0.00  0.00  0  9.80  0.00  0.00  0\n" for i in range(3))
    tiny = Source(where="all_reduce_small.txt", text=f"{RANKS}{HEADER}{small}")
    assert taken(tiny, file(FOREIGN / "nccl-tests.txt")).rows == {"comm.csv": 18}
    with pytest.raises(InputError, match=r"^all files: times for comm.csv are outside of 0.05 to 1000 times"):
        taken(tiny)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x: holds nothing; want rows of measured kernels"),
        ("\n \n", "x: holds nothing; want rows of measured kernels"),
        ("a,b\n1,2\n", "x: is in no format that is read; want nccl-tests, vidur, aiconfigurator"),
        ("# notes\nhello\n", "x: holds no table of nccl-tests; want the text that all_reduce_perf prints"),
        ("system,m,time_us\n", "x: has our own columns already; give its folder to calibrate fit"),
        ("time_stats.emb.median\n", "x: holds a header and no rows"),
        ("time_stats.emb.median\n1\n", "x: is no table of Vidur that is read; want mlp, attention or a collective"),
        ("time_stats.a.median,collective\n1,a\n", "x: has no column num_workers, size, devices_per_node; want "),
        ("op_name,latency\ngdn,1\n", "x: is no table of AIConfigurator that is read; want gemm_perf, "),
        ("op_name,latency,mla_dtype,gemm_type\na,1,b,c\n", "x: is no table of AIConfigurator that is read; want "),
        ("op_name,latency,gemm_dtype,m,n\ngemm,1,a,1,1\n", "x: has no column k; want op_name, gemm_dtype, m, n, k, "),
        ("op_name,latency,m,m\n1,1,1,1\n", "x: column 'm' is here twice; keep one"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_in_one_line(text, said):
    with pytest.raises(InputError) as error:
        taken(Source(where="x", text=text))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_every_format_is_seen_by_its_first_lines():
    told = {path.name: form_of(file(path)) for path in ALL}
    assert {name for name, form in told.items() if form == "vidur"} == {"all_reduce.csv", "attention.csv", "mlp.csv"}
    assert {name for name, form in told.items() if form == "nccl-tests"} == {"alltoall_8gpu.txt", "nccl-tests.txt"}
    assert all(form == "aiconfigurator" for name, form in told.items() if "_perf" in name)


SIZES = st.sampled_from([0, 1024, 1031, 4096, 10**14])
LINES = st.lists(
    st.tuples(st.sampled_from(["bfloat16", "fp8", "sq", "int3"]), SIZES, SIZES, SIZES, st.sampled_from(["", 0, 0.02])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_each_line_is_written_merged_or_refused_and_each_row_is_read(lines):
    good = ("bfloat16", 1024, 1024, 4096, 0.02)
    body = "\n".join("VLLM,1,gemm," + ",".join(map(str, line)) for line in [good, good, good, *lines])
    found = taken(Source(where="g", text=f"framework,version,op_name,gemm_dtype,m,n,k,latency\n{body}\n"))
    assert sum(found.rows.values()) + found.merged + found.refused.total() == len(lines) + 3
    read = measured_rows(found.texts.items(), TARGETS)
    assert sum(len(cell.measured_s) for cell in read.cells) == sum(found.rows.values())
    assert not +read.refused
