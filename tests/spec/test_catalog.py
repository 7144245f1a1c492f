from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from llmplan.errors import InputError, UnknownNameError
from llmplan.model_file import model_file
from llmplan.spec.base import NAME_PATTERN, folded
from llmplan.spec.catalog import KINDS, Catalog
from llmplan.spec.fits import BASES
from llmplan.spec.hardware import plain_rows
from llmplan.spec.messages import read_as
from llmplan.spec.model import Gqa, Model
from llmplan.spec.parameters import active_parameters, parameters
from llmplan.spec.workload import OfferFilter, OneOffer
from llmplan.spec.yaml_files import read_yaml

SHIPPED = Catalog()
FOLDER = Path(__file__).parents[2]
READ = {
    "gpus": SHIPPED.gpu,
    "links": SHIPPED.link,
    "nodes": SHIPPED.node,
    "engines": SHIPPED.engine,
    "models": SHIPPED.model,
    "techniques": SHIPPED.technique,
    "fits": SHIPPED.fits,
}
ENTRIES = [(kind, name) for kind in READ for name in SHIPPED.names(kind)]
GPUS = [SHIPPED.gpu(name) for name in SHIPPED.names("gpus")]
NODES = [SHIPPED.node(name) for name in SHIPPED.names("nodes")]
MODELS = [SHIPPED.model(name) for name in SHIPPED.names("models")]
PRICES = [(sheet, *row) for sheet in SHIPPED.prices for row in sheet.rows()]

KNOWN = yaml.safe_load((FOLDER / "tests/data/known_figures.yaml").read_text("utf-8"))
SAID_BY_THEMSELVES = {"name", "aliases", "title", "vendor", "provider", "status", "notes", "sources"}
"""Fields that are names or words of ours: no source could say more."""


def named(entries):
    return {"argvalues": entries, "ids": [entry.name for entry in entries]}


# ---- every file ----


def test_every_kind_of_file_is_read():
    assert set(READ) == set(KINDS)
    assert {kind for kind, _ in ENTRIES} >= set(KINDS) - {"techniques"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_data_folder_holds_no_code(kind):
    assert list((FOLDER / KINDS[kind][0]).rglob("*.py")) == []


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_a_file_loads_and_is_named_as_its_entry(kind, name):
    entry = READ[kind](name)
    assert isinstance(entry, KINDS[kind][1])
    assert getattr(entry, "name", getattr(entry, "gpu", None)) == name
    assert NAME_PATTERN.match(name)


@pytest.mark.parametrize(("kind", "name"), [e for e in ENTRIES if e[0] in ("gpus", "links", "nodes", "engines")])
def test_every_value_has_a_source(kind, name):
    entry = READ[kind](name)
    given = {field for field in type(entry).model_fields if getattr(entry, field) not in (None, ())}
    given &= entry.model_fields_set
    assert given - SAID_BY_THEMSELVES <= set(entry.sources)
    assert set(entry.sources) <= set(type(entry).model_fields)


def texts(value):
    """Yield every text of a file as it was read."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


@pytest.mark.parametrize("folder", ["hardware", "engines", "models", "techniques"])
def test_no_text_is_torn_after_a_hyphen(folder):
    """A folded text whose line ends with a hyphen is read with a blank there."""
    for path in sorted((FOLDER / folder).rglob("*.yaml")):
        for text in texts(yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)):
            torn = re.search(r"[A-Za-z0-9]- (?!(?:and|or|to)\b)[A-Za-z]", text)
            assert torn is None, f"{path.name}: {torn[0]}"


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"fits"}))
def test_a_name_means_one_entry(kind):
    owner: dict[str, str] = {}
    for name in SHIPPED.names(kind):
        entry = READ[kind](name)
        own = {folded(text) for text in (name, *entry.aliases, *([entry.hf_id] if kind == "models" else []))}
        for text in own:
            assert owner.setdefault(text, name) == name
        assert len(entry.aliases) == len(set(entry.aliases))


@pytest.mark.parametrize(("kind", "name"), [e for e in ENTRIES if e[0] != "fits"])
def test_an_alias_finds_its_entry(kind, name):
    for alias in READ[kind](name).aliases:
        assert READ[kind](alias).name == name


# ---- devices and hosts ----


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_a_gpu_meets_others_over_links_that_exist(gpu):
    host = SHIPPED.link(gpu.host_link) if gpu.host_link else None
    assert host is None or host.kind == "host"
    if gpu.link is None:
        assert gpu.link_domain == 1
    else:
        assert SHIPPED.link(gpu.link).kind == "device"
        assert host is None or SHIPPED.link(gpu.link).bytes_per_s >= host.bytes_per_s
        assert gpu.link_domain > 1


FP8_TO_BF16 = {
    "gaudi3": 1.0,  # the same rate in both
    "trainium2": 1.947,  # as quoted
    "l40s": 2.025,  # the datasheet says 362 and 733
    "gaudi2": 2.002,  # quoted as 432 and 865
    "rubin-r200-nvl72": 4.375,  # 4 and 17.5 PFLOP/s in NVIDIA's table
}
"""Peaks of fp8 over bf16 that are not 2."""
FP4_TO_FP8 = {
    "b300-sxm": 14 / 4.5,  # more fp4 units than the B200
    "gb300-nvl72": 3.0,
    "rtx-5090": 4.0,  # fp8 is halved on GeForce boards, fp4 is not
}
"""Peaks of fp4 over fp8 that are not 2."""
WITH_FP8 = ("ada", "hopper", "blackwell", "blackwell-rtx", "rubin", "cdna3", "cdna4", "cdna5", "gaudi2", "gaudi3")


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_halving_the_format_doubles_the_rate(gpu):
    rate = gpu.flop_per_s
    assert rate["bf16"] > 0
    if "fp8" in rate:
        assert rate["fp8"] / rate["bf16"] == pytest.approx(FP8_TO_BF16.get(gpu.name, 2), rel=0.001)
    if "fp4" in rate:
        assert rate["fp4"] / rate["fp8"] == pytest.approx(FP4_TO_FP8.get(gpu.name, 2), rel=0.001)
    assert ("fp8" in rate) == (gpu.architecture in (*WITH_FP8, "tpu7x", "trainium2"))
    assert ("fp4" in rate) == (gpu.architecture in ("blackwell", "blackwell-rtx", "rubin", "cdna4", "cdna5"))


def test_nothing_falls_back_from_fp8_to_int8_where_int8_is_gone():
    for name in ("b300-sxm", "gb300-nvl72", "rubin-r200-nvl72"):
        rate = SHIPPED.gpu(name).flop_per_s
        assert rate["int8"] < rate["bf16"] / 10
    for engine in SHIPPED.names("engines"):
        support = SHIPPED.engine(engine).support.get("blackwell")
        assert support is None or "int8" not in support.weight_dtypes


BF16_A_CLOCK = {
    "volta": 1024,
    "turing": 1024,
    "ampere": 1024,
    "ada": 1024,
    "hopper": 4096,
    "blackwell": 8192,
    "blackwell-rtx": 1024,
    "cdna2": 1024,
    "cdna3": 2048,
    "cdna4": 4096,
    "xe2": 2048,
    "apple-m3": 256,
    "apple-m4": 256,
}
"""Dense bf16 (or FP16) operations of one multiprocessor in one clock."""
BF16_A_CLOCK_OF = {
    **dict.fromkeys(("a30", "a100-40-sxm", "a100-40-pcie", "a100-80-sxm", "a100-80-pcie"), 2048),  # GA100
    **dict.fromkeys(("a10g", "rtx-3090", "rtx-4090", "rtx-5090", "l40"), 512),  # half rate with FP32 accumulation
    "h20-96": 958,  # fused down
    "h100-nvl": 3546,  # quoted at 1.545 GHz, far below its boost clock
    "h200-nvl": 3546,
}
"""Devices whose units do less or more than those of their architecture."""


@pytest.mark.parametrize("gpu", **named([gpu for gpu in GPUS if gpu.clock_hz and gpu.architecture in BF16_A_CLOCK]))
def test_the_peak_is_what_its_units_can_do(gpu):
    """Hopper and Blackwell are quoted at about 1.83 GHz, up to 9 % below their boost clock."""
    a_clock = BF16_A_CLOCK_OF.get(gpu.name, BF16_A_CLOCK[gpu.architecture])
    assert gpu.flop_per_s["bf16"] == pytest.approx(gpu.multiprocessors * a_clock * gpu.clock_hz, rel=0.1)


def test_every_gpu_says_how_it_is_sold():
    assert set(KNOWN["sold_gb"]) == set(SHIPPED.names("gpus"))


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_a_device_reports_no_more_memory_than_is_sold(gpu):
    sold = KNOWN["sold_gb"][gpu.name]
    assert sold * 0.93e9 <= gpu.memory_bytes <= sold * 2**30


DECIMAL = {"arc-pro-b60", "gb10-spark", "mi455x", "rubin-r200-nvl72"}
"""Devices of which nothing tells how much they report: a datasheet in decimal gigabytes."""


def test_memory_is_decimal_only_where_nothing_tells_more():
    sold = KNOWN["sold_gb"]
    assert {gpu.name for gpu in GPUS if gpu.memory_bytes == sold[gpu.name] * 1e9} == DECIMAL


@pytest.mark.parametrize(("one", "other"), [("h100-sxm", "h100-pcie"), ("h200-sxm", "h200-nvl"), ("a10g", "a10")])
def test_boards_of_the_same_memory_report_the_same(one, other):
    assert SHIPPED.gpu(one).memory_bytes == SHIPPED.gpu(other).memory_bytes


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_a_gpu_is_of_this_world(gpu):
    assert 12 * 2**30 < gpu.memory_bytes <= 512 * 2**30
    assert 2e11 < gpu.memory_bytes_per_s < (3e13 if gpu.status == "preliminary" else 1e13)
    assert gpu.clock_hz is None or 1e9 < gpu.clock_hz < 3e9
    assert gpu.multiprocessors is None or 20 <= gpu.multiprocessors <= 320
    assert gpu.tdp_w is None or 50 <= gpu.tdp_w <= 2000
    assert gpu.idle_w is None or gpu.tdp_w is None or gpu.idle_w < gpu.tdp_w / 3
    assert gpu.l2_bytes is None or 4 * 2**20 <= gpu.l2_bytes <= 128 * 2**20
    balance = gpu.flop_per_s["bf16"] / gpu.memory_bytes_per_s  # FLOP per byte
    low = {"h20-96": 30, "rtx-3090": 70, "m3-ultra": 30, "m4-max": 30}.get(gpu.name, 100)
    assert low < balance < 600


def test_what_the_model_needs_is_null_only_where_no_gpu_is_to_be_compared():
    without = {gpu.name for gpu in GPUS if gpu.multiprocessors is None or gpu.clock_hz is None}
    others = {"gaudi2", "gaudi3", "tpu-v5e", "tpu-v5p", "tpu-v6e", "tpu7x", "trainium2"}
    assert without == others | {"rubin-r200-nvl72", "mi455x"}
    assert {gpu.name for gpu in GPUS if gpu.status == "preliminary"} == {"rubin-r200-nvl72", "mi455x", "tpu7x"}


def test_a_preliminary_gpu_is_of_preliminary_figures_or_known_in_part():
    for gpu in GPUS:
        confidences = {source.confidence for source in gpu.sources.values()}
        if ("preliminary" in confidences and gpu.name != "trainium2") or gpu.status == "preliminary":
            assert gpu.status == "preliminary"
            assert "preliminary" in confidences or gpu.tdp_w is None


FAMILIES = (
    ("t4", "l4"),
    ("v100-32-sxm", "a100-80-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm"),
    ("a100-40-sxm", "a100-80-sxm"),
    ("a100-40-pcie", "a100-80-pcie", "h100-pcie", "h100-nvl", "h200-nvl"),
    ("a40", "l40"),
    ("rtx-3090", "rtx-4090", "rtx-5090"),
    ("gb200-nvl72", "gb300-nvl72", "rubin-r200-nvl72"),
    ("mi210", "mi300x", "mi325x", "mi350x", "mi355x", "mi455x"),
    ("gaudi2", "gaudi3"),
    ("tpu-v5e", "tpu-v6e", "tpu7x"),
)


@pytest.mark.parametrize("family", FAMILIES, ids=" ".join)
def test_each_device_of_a_family_is_no_slower_than_the_one_before(family):
    gpus = [SHIPPED.gpu(name) for name in family]
    for older, newer in pairwise(gpus):
        assert newer.flop_per_s["bf16"] >= older.flop_per_s["bf16"]
        assert newer.memory_bytes_per_s >= older.memory_bytes_per_s * (0.9 if newer.name == "l4" else 1)
        assert newer.memory_bytes >= older.memory_bytes * 0.96  # reported with ECC, or sold in decimal gigabytes
        if older.tdp_w and newer.tdp_w and newer.name != "rtx-4090":
            assert newer.tdp_w >= older.tdp_w


def test_an_mi250x_is_counted_as_two_devices():
    half, whole = SHIPPED.gpu("MI250X"), {"memory_gb": 128, "tb_per_s": 3.277, "tflop_per_s": 383}
    assert half.memory_bytes < whole["memory_gb"] / 2 * 2**30
    assert half.memory_bytes_per_s == pytest.approx(whole["tb_per_s"] / 2 * 1e12, rel=0.001)
    assert half.flop_per_s["bf16"] == pytest.approx(whole["tflop_per_s"] / 2 * 1e12, rel=0.001)


def test_a_link_has_the_bandwidth_of_one_device_in_one_direction():
    links = [SHIPPED.link(name) for name in SHIPPED.names("links")]
    assert {link.name: link.bytes_per_s / 1e9 for link in links} == pytest.approx(KNOWN["link_gb_per_s"])
    for link in links:
        least, most = {"device": (1e-6, 1e-5), "host": (1e-6, 1e-5), "network": (1e-6, 0.1)}[link.kind]
        assert least <= link.latency_s <= most


@pytest.mark.parametrize("node", **named(NODES))
def test_a_node_holds_gpus_that_exist(node):
    assert node.gpu in SHIPPED.names("gpus")
    assert node.gpus in (1, 2, 4, 8, 16)
    assert node.link_domain is None or node.link_domain <= node.gpus
    assert node.provider in {sheet.provider for sheet in SHIPPED.prices}
    assert node.dram_bytes is None or 4 * 2**30 < node.dram_bytes / node.gpus < 2**40
    assert node.nic_bytes_per_s is None or 1e8 < node.nic_bytes_per_s / node.gpus <= 1e11
    assert node.nvme_bytes is None or 1e11 < node.nvme_bytes < 1e14
    gpu = SHIPPED.gpu(node.gpu)
    assert gpu.link or node.link_domain in (None, 1)


@pytest.mark.parametrize("engine", **named([SHIPPED.engine(name) for name in SHIPPED.names("engines")]))
def test_an_engine_supports_devices_that_exist(engine):
    assert set(engine.support) <= {gpu.architecture for gpu in GPUS}
    assert all(support.weight_dtypes and support.kv_dtypes for support in engine.support.values())


NOT_SERVED = {
    "volta": "engines dropped it",
    "gaudi2": "served by a fork of vLLM that nobody described",
    "gaudi3": "served by a fork of vLLM that nobody described",
    "tpu-v5e": "served by another branch of vLLM that nobody described",
    "tpu-v5p": "served by another branch of vLLM that nobody described",
    "tpu-v6e": "served by another branch of vLLM that nobody described",
    "trainium2": "served by a plugin of vLLM that nobody described",
    "apple-m3": "served by llama.cpp and MLX, which are not modeled",
    "apple-m4": "served by llama.cpp and MLX, which are not modeled",
}
"""Architectures of released devices that no shipped engine serves: their devices are shown, never offered."""


def test_every_released_gpu_is_served_by_some_engine():
    served = {name for engine in SHIPPED.names("engines") for name in SHIPPED.engine(engine).support}
    assert {gpu.architecture for gpu in GPUS if gpu.status == "released"} <= served | set(NOT_SERVED)
    assert set(NOT_SERVED) <= {gpu.architecture for gpu in GPUS} - served


@pytest.mark.parametrize("name", SHIPPED.names("fits"))
def test_a_fit_is_of_a_gpu_that_exists(name):
    fits = SHIPPED.fits(name)
    assert fits.gpu == name
    assert name in SHIPPED.names("gpus")
    steps = {"gemm", "attn_prefill", "attn_decode", "mla_prefill", "mla_decode", "moe", "all_reduce"}
    assert {kernel.operator for kernel in fits.kernels} >= steps


def test_a_gpu_without_fits_is_said_to_have_none():
    assert SHIPPED.fits("nobody-measured-this") is None


def test_every_basis_has_error_bands():
    bands = SHIPPED.bands.bands
    assert set(bands) == set(BASES)
    for rows in bands.values():
        assert set(rows) >= {"ttft_s", "tpot_s", "throughput"}
        assert all(row.low <= 1 <= row.high for row in rows.values())


# ---- prices ----


def test_a_price_is_of_a_node_that_exists_and_of_its_provider():
    for sheet, name, *_ in PRICES:
        assert SHIPPED.node(name).name == name
        assert SHIPPED.node(name).provider == sheet.provider


WITHOUT_PRICE = {"p5e.48xlarge", "trn2.48xlarge"}
"""Hosts that the source of AWS hosts describes and its price list leaves out."""


def test_every_node_can_be_rented_somewhere():
    assert {node.name for node in NODES} - {name for _, name, *_ in PRICES} == WITHOUT_PRICE


def test_as_many_prices_ship_as_the_documents_say():
    assert len(PRICES) == 1513
    assert len({(name, region) for _, name, region, *_ in PRICES}) == 1127


def test_a_gpu_hour_costs_what_such_things_cost():
    per_gpu = {(name, region, market): usd / SHIPPED.node(name).gpus for _, name, region, market, usd in PRICES}
    assert {key: usd for key, usd in per_gpu.items() if not 0.15 <= usd <= 30 and "gb200" not in key[0]} == {}
    assert all(25 <= usd <= 60 for key, usd in per_gpu.items() if "gb200" in key[0])


MOST_OVER_LEAST = 10.0
"""Dearest over cheapest provider of one GPU, on demand, each at its cheapest."""


def test_providers_do_not_differ_by_an_order_of_magnitude():
    cheapest: dict[str, dict[str, float]] = {}
    for sheet, name, _, market, usd in PRICES:
        if market == "on_demand":
            node = SHIPPED.node(name)
            of = cheapest.setdefault(node.gpu, {})
            of[sheet.provider] = min(of.get(sheet.provider, 1e9), usd / node.gpus)
    spread = {gpu: max(of.values()) / min(of.values()) for gpu, of in cheapest.items() if len(of) > 1}
    assert len(spread) >= 8
    assert {gpu: ratio for gpu, ratio in spread.items() if ratio > MOST_OVER_LEAST} == {}


@pytest.mark.parametrize("provider", ["aws", "gcp", "crusoe"])
def test_a_newer_device_of_a_provider_costs_no_less(provider):
    """Not so on Azure, whose H200 hosts cost less than its H100 hosts."""
    cheapest: dict[str, float] = {}
    for sheet, name, _, market, usd in PRICES:
        if sheet.provider == provider and market == "on_demand":
            node = SHIPPED.node(name)
            cheapest[node.gpu] = min(cheapest.get(node.gpu, 1e9), usd / node.gpus)
    for family in (
        ("a100-40-pcie", "a100-80-pcie", "a100-80-sxm"),
        ("a100-40-sxm", "a100-80-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm"),
        ("t4", "l4", "l40s", "h100-sxm"),
    ):
        costs = [cheapest[gpu] for gpu in family if gpu in cheapest]
        assert costs == sorted(costs)


def test_a_sheet_has_a_day_or_says_that_it_has_none():
    undated = {sheet.provider for sheet in SHIPPED.prices if sheet.snapshot is None}
    assert undated == {"digitalocean", "hotaisle", "jarvislabs", "vultr"} == set(SHIPPED.undated(OfferFilter()))
    for sheet in SHIPPED.prices:
        text = (FOLDER / f"hardware/prices/{sheet.provider}.yaml").read_text("utf-8")
        assert ("unknown day" in text.splitlines()[0]) == (sheet.snapshot is None)


def test_prices_of_an_unknown_day_count_only_when_they_are_named():
    assert {"vultr", "digitalocean"}.isdisjoint({o.provider for o in SHIPPED.offers(OfferFilter())})
    assert {o.provider for o in SHIPPED.offers(OfferFilter(providers=("vultr",)))} == {"vultr"}
    assert {o.provider for o in SHIPPED.offers(OfferFilter(nodes=("gpu-h100x8-640gb",)))} == {"digitalocean"}
    assert "vultr" not in {o.provider for o in SHIPPED.offers(OfferFilter(gpus=("mi300x",)))}


def test_prices_of_an_unknown_day_are_counted_as_the_filter_would_keep_them():
    every = SHIPPED.undated(OfferFilter())
    assert every.total() == len(SHIPPED.offers(OfferFilter(providers=tuple(every))))
    assert SHIPPED.undated(OfferFilter(gpus=("mi325x",))) == {"vultr": 1}
    assert not SHIPPED.undated(OfferFilter(gpus=("b300",)))
    assert not SHIPPED.undated(OfferFilter(providers=("aws",)))
    assert not SHIPPED.undated(OfferFilter(nodes=("gpu-h100x8-640gb",)))


def test_a_price_of_every_region_is_kept_by_any_region():
    assert {o.region for o in SHIPPED.offers(OfferFilter(providers=("crusoe",)))} == {"all"}
    for region in ("us-east-1", "eastus"):
        kept = SHIPPED.offers(OfferFilter(regions=(region,)))
        assert {o.region for o in kept} == {region, "all"}
        assert [o for o in kept if o.provider == "crusoe"] == SHIPPED.offers(OfferFilter(providers=("crusoe",)))


def test_an_offer_named_in_full_is_that_offer_and_no_other(tmp_path):
    (tmp_path / "hardware/prices").mkdir(parents=True)
    (tmp_path / "hardware/prices/z.yaml").write_text(
        "provider: z\nsnapshot: 2026-10-01\nsource: x\noffers:\n  p5.48xlarge:\n"
        "    any: {on_demand: 1 USD/h}\n    berlin: {on_demand: 2 USD/h}\n"
    )
    catalog = Catalog([tmp_path])
    wanted = {"providers": ("z",), "regions": ("berlin",)}
    assert [o.region for o in catalog.offers(OfferFilter(**wanted))] == ["any", "berlin"]
    assert [o.region for o in catalog.offers(OneOffer(**wanted))] == ["berlin"]


def test_rows_of_a_sheet_read_in_haste_are_those_read_with_care():
    for sheet in SHIPPED.prices:
        text = (FOLDER / f"hardware/prices/{sheet.provider}.yaml").read_text("utf-8")
        assert plain_rows(text) == (sheet.provider, sheet.snapshot, sheet.rows())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("55.04 USD/h", "40 USD/month"),
        ("  p5.48xlarge:", "  p5.48xlarge: # dear"),
        ("    us-east-1: {on_demand: 55.04 USD/h}", "    us-east-1:\n      on_demand: 55.04 USD/h"),
        ("snapshot:", "snapshot: "),
    ],
)
def test_a_sheet_of_another_form_is_not_read_in_haste(old, new):
    text = (FOLDER / "hardware/prices/aws.yaml").read_text("utf-8")
    assert old in text
    assert plain_rows(text.replace(old, new)) is None


def test_what_can_be_taken_away_costs_no_more():
    for sheet in SHIPPED.prices:
        for regions in sheet.usd_per_hour.values():
            for prices in regions.values():
                most = prices.get("on_demand", float("inf"))
                assert prices.get("spot", 0) <= most
                assert prices.get("reserved", 0) <= most


def test_a_larger_node_of_the_same_gpu_costs_more():
    for sheet in SHIPPED.prices:
        rows = [(SHIPPED.node(n), region, usd) for n, region, market, usd in sheet.rows() if market == "on_demand"]
        for node, region, usd in rows:
            for other, elsewhere, more in rows:
                if region == elsewhere and node.gpu == other.gpu and node.gpus < other.gpus:
                    assert usd < more * 1.5


def test_offers_come_in_a_fixed_order_cheapest_first():
    offers = SHIPPED.offers(OfferFilter())
    assert offers
    assert [o.name for o in offers] == [o.name for o in Catalog().offers(OfferFilter())]
    assert [o.usd_per_hour for o in offers] == sorted(o.usd_per_hour for o in offers)
    assert {o.market for o in offers} == {"on_demand"}


def test_a_filter_keeps_what_it_names():
    wanted = OfferFilter(gpus=("H100", "L4"), providers=("gcp",), markets=("spot", "on_demand"))
    offers = SHIPPED.offers(wanted)
    assert {o.node.gpu for o in offers} == {"h100-sxm", "l4"}
    assert {o.provider for o in offers} == {"gcp"}
    assert {o.market for o in offers} == {"spot", "on_demand"}
    one = SHIPPED.offers(OfferFilter(nodes=("p5.48xlarge",), regions=("us-east-1",)))
    assert [o.name for o in one] == ["aws/p5.48xlarge/us-east-1/on_demand"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (OfferFilter(providers=("azur",)), "no provider 'azur' has a price; did you mean azure"),
        (OfferFilter(regions=("us-east-11",)), "no region 'us-east-11' has a price; did you mean us-east-1"),
        (OfferFilter(gpus=("h100-sx",)), "no GPU 'h100-sx' in the catalog; did you mean h100-sxm"),
        (OfferFilter(nodes=("p5.48xlarg",)), "no node 'p5.48xlarg' in the catalog; did you mean p5.48xlarge"),
    ],
)
def test_a_filter_that_names_nothing_is_refused(wanted, said):
    with pytest.raises(UnknownNameError, match=said):
        SHIPPED.offers(wanted)


@pytest.mark.parametrize("name", ["8xh100", "8 x H100", "H100:8"])
def test_a_filter_takes_no_number_of_gpus(name):
    with pytest.raises(InputError, match="has a number; cap it with limits"):
        SHIPPED.offers(OfferFilter(gpus=(name,)))


# ---- models ----


@pytest.mark.parametrize("model", **named([model for model in MODELS if model.published_parameters]))
def test_a_model_has_as_many_parameters_as_published(model):
    assert sum(parameters(model).values()) == pytest.approx(model.published_parameters, rel=1e-4)


@pytest.mark.parametrize("model", **named(MODELS))
def test_a_model_is_of_this_world(model):
    counts = parameters(model)
    assert 1e8 < sum(counts.values()) < 1e13
    assert active_parameters(model) <= sum(counts.values())
    assert 1 <= model.layer_count < 200
    assert model.max_context_tokens >= 1024
    for mixer, ffn, _ in model.runs():
        assert ffn is None or ffn.intermediate_size <= 8 * model.hidden_size
        assert not isinstance(mixer, Gqa) or mixer.heads % mixer.kv_heads == 0
    for module, shares in model.weights.mixed.items():
        assert counts[module] > 0
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_a_hundred_and_twenty_models_are_shipped():
    assert len(MODELS) >= 120


@pytest.mark.parametrize("model", **named(MODELS))
def test_a_model_file_is_what_import_would_write(model):
    """The text of a file gives the model back; the twelve with comments of their own included."""
    assert read_as(Model, read_yaml(model_file(model), "models/x.yaml")) == model


@pytest.mark.parametrize("text", ["Qwen/Qwen3-8B", "qwen3_8b", "QWEN3 8B"])
def test_a_model_is_found_by_any_of_its_names(text):
    assert SHIPPED.model(text).name == "qwen3-8b"


# ---- names seen elsewhere, and names that are refused ----

NAMED = ("gpus", "nodes", "engines", "models")
SEEN = yaml.safe_load((FOLDER / "tests/data/names_seen.yaml").read_text("utf-8"))
REFUSED = [(kind, name) for kind in NAMED for e in getattr(SHIPPED.refused, kind) for name in e.names]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in NAMED for n in SEEN[k]])
def test_a_name_seen_elsewhere_means_an_entry_or_is_refused_with_a_reason(kind, name):
    try:
        assert READ[kind](name).name
    except UnknownNameError as error:
        assert str(error) == SHIPPED.refusal(kind, name)  # noqa: PT017


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_a_refused_name_is_no_entry_and_its_reason_is_one_line(kind, name):
    with pytest.raises(UnknownNameError) as error:
        READ[kind](name)
    said = str(error.value)
    assert said.startswith(f"{name!r} ")
    assert "\n" not in said
    assert len(said) < 250


@pytest.mark.parametrize("kind", NAMED)
def test_what_a_refusal_names_instead_exists(kind):
    known = set(SHIPPED.names(kind))
    for entry in getattr(SHIPPED.refused, kind):
        after = entry.reason.partition("; ")[2] or entry.reason
        words = {word.strip(",.()") for word in after.split()}
        assert words & known or any(word in entry.reason for word in ("your own", "{whole}", "library"))
        like_names = {w for w in words if re.fullmatch(r"[a-z][a-z0-9]*[-.][a-z0-9.-]*\d[a-z0-9.-]*", w)}
        assert like_names <= known


GPU_NAMES = [name for gpu in GPUS for name in (gpu.name, *gpu.aliases)]
REFUSED_GPUS = [name for kind, name in REFUSED if kind == "gpus"]


@pytest.mark.parametrize("form", ["{}-1g.10gb", "{}x8", "{}x2"])
@pytest.mark.parametrize("name", [*GPU_NAMES, *REFUSED_GPUS, "mi300", "MI355", "nothing5"])
def test_every_name_that_a_refusal_proposes_is_an_entry(name, form):
    with pytest.raises(UnknownNameError) as error:
        SHIPPED.gpu(form.format(name))
    proposed = re.search(r"; name (?:the whole one, (?:such as )?)?(.+?)(?:, or \dx(\S+) where .*)?$", str(error.value))
    if SHIPPED.refusal("gpus", form.format(name)):
        assert proposed
        for said in re.split(r", | or ", proposed[1]):
            assert SHIPPED.gpu(said).name == said
        assert proposed[2] is None or SHIPPED.gpu(proposed[2]).name == proposed[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a100-1g.5gb", "name the whole one, a100-40-sxm, a100-80-sxm, a100-40-pcie or a100-80-pcie"),
        ("h100-1g.10gb", "name the whole one, h100-sxm"),
        ("MI355x8", "machine of 8 devices; name mi355x, or 8xmi355x where a number is taken"),
        ("mi300x8", "machine of 8 devices; name mi300x, or 8xmi300x where"),
        ("A100x8", "or 8xa100-40-sxm where"),
        ("K80-1g.5gb", "name the whole one, such as h100-sxm"),
    ],
)
def test_a_part_or_a_number_of_a_gpu_leads_to_the_gpu(name, said):
    with pytest.raises(UnknownNameError) as error:
        SHIPPED.gpu(name)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "h100-mig-1g.10gb",
        "A100-1g.5gb",
        "MIG-3g.40gb",
        "h200-sxm-mig-7g.141gb",
        "1g.5gb",
        "b200_1g.23gb",
        "H100-1g.10gb+me",
    ],
)
def test_a_mig_slice_is_refused_by_any_of_its_names(name):
    with pytest.raises(UnknownNameError, match=r"is a MIG slice of a GPU.* name the whole one") as error:
        SHIPPED.offers(OfferFilter(gpus=(name,)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (OfferFilter(nodes=("g6f.xlarge",)), "'g6f.xlarge' is a slice of an L4: .* name g6.xlarge, one whole L4"),
        (OfferFilter(nodes=("Standard_NV6ads_A10_v5",)), "is a slice of an A10: .* name standard-nv36ads-a10-v5"),
        (OfferFilter(gpus=("A100",)), "'A100' is two sizes on two boards; name a100-40-sxm, a100-80-sxm"),
        (OfferFilter(gpus=("rtx30",)), "no GPU 'rtx30' in the catalog; did you mean"),
        (OfferFilter(gpus=("T4x4",)), "'T4x4' looks like a machine of 4 devices; name t4, or 4xt4 where a number"),
    ],
)
def test_an_offer_of_a_refused_name_says_why(wanted, said):
    with pytest.raises(UnknownNameError, match=said):
        SHIPPED.offers(wanted)


def test_a_preliminary_gpu_is_offered_only_by_name(mine, tmp_path):
    folder = mine(
        "nodes",
        "p5.48xlarge",
        ("name: p5.48xlarge", "name: r200-4"),
        ("gpu: h100-sxm", "gpu: rubin-r200-nvl72"),
        name="r200-4",
    )
    sheet = "provider: acme\nsnapshot: 2026-11-01\nsource: quote\noffers:\n  r200-4:\n    x: {on_demand: 9 USD/h}\n"
    (tmp_path / "hardware/prices").mkdir()
    (tmp_path / "hardware/prices/acme.yaml").write_text(sheet, "utf-8")
    catalog = Catalog.with_folders([folder])
    everything = catalog.offers(OfferFilter())
    assert "acme" not in {o.provider for o in everything}
    assert catalog.offers(OfferFilter(providers=("acme",))) == []
    for wanted in (OfferFilter(gpus=("R200",)), OfferFilter(nodes=("r200-4",))):
        assert [o.name for o in catalog.offers(wanted)] == ["acme/r200-4/x/on_demand"]


# ---- names that are wrong, and folders of the user ----


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("gpus", "h10-sxm", "no GPU 'h10-sxm' in the catalog; did you mean .*h100-sxm.*(llmplan catalog list gpus)"),
        ("models", "lama-3.1-8b", "no model 'lama-3.1-8b' in the catalog; did you mean .*llama-3.1-8b"),
        ("links", "nvlink7", "no link 'nvlink7' in the catalog; did you mean .*nvlink"),
        ("engines", "vlm", "no engine 'vlm' in the catalog; did you mean vllm"),
        ("nodes", "xyzzy", "no node 'xyzzy' in the catalog; llmplan catalog list nodes lists them"),
    ],
)
def test_a_wrong_name_offers_near_ones(kind, wrong, said):
    with pytest.raises(UnknownNameError, match=said):
        READ[kind](wrong)


@pytest.fixture
def mine(tmp_path):
    """Write one entry of the user, from a shipped one, and return the folder."""

    def write(kind: str, like: str, *changes: tuple[str, str], name: str | None = None) -> str:
        folder = KINDS[kind][0] if kind in KINDS else kind
        text = (FOLDER / folder / f"{like}.yaml").read_text("utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"{name or like}.yaml").write_text(text, "utf-8")
        return str(tmp_path)

    return write


def test_an_entry_of_the_user_wins_and_the_rest_stays(mine):
    folder = mine("gpus", "h100-sxm", ("3.35 TB/s", "3.0 TB/s"))
    catalog = Catalog.with_folders([folder])
    assert catalog.gpu("H100").memory_bytes_per_s == 3e12
    assert catalog.gpu("h200-sxm") == SHIPPED.gpu("h200-sxm")
    assert catalog.names("gpus") == SHIPPED.names("gpus")
    assert SHIPPED.gpu("h100-sxm").memory_bytes_per_s == 3.35e12


def test_the_user_may_add_an_entry(mine):
    changes = (("name: l4", "name: l5"), ("aliases: [NVIDIA-L4]", "aliases: [L-Five]"))
    catalog = Catalog.with_folders([mine("gpus", "l4", *changes, name="l5")])
    assert catalog.gpu("lfive").name == "l5"
    assert set(catalog.names("gpus")) == {*SHIPPED.names("gpus"), "l5"}


def test_the_first_folder_wins(mine, tmp_path):
    first = mine("gpus", "l4", ("300 GB/s", "200 GB/s"))
    assert Catalog.with_folders([first]).gpu("l4").memory_bytes_per_s == 2e11
    other = tmp_path / "other"
    (other / "hardware/gpus").mkdir(parents=True)
    text = (FOLDER / "hardware/gpus/l4.yaml").read_text("utf-8").replace("300 GB/s", "100 GB/s")
    (other / "hardware/gpus/l4.yaml").write_text(text, "utf-8")
    assert Catalog.with_folders([str(other), first]).gpu("l4").memory_bytes_per_s == 1e11


def test_a_price_sheet_of_the_user_replaces_the_one_of_that_provider(mine):
    folder = mine("hardware/prices", "aws", ("55.04 USD/h", "1 USD/h"))
    catalog = Catalog.with_folders([folder])
    offer = catalog.offers(OfferFilter(nodes=("p5.48xlarge",)))[0]
    assert offer.usd_per_hour == 1.0
    assert [sheet.provider for sheet in catalog.prices] == [sheet.provider for sheet in SHIPPED.prices]


ALIASED = """\
provider: acme
snapshot: 2026-11-01
source: quote
offers:
  Standard_ND96isrf_H100_v5:
    oslo:
      on_demand: {usd_per_hour: 20 USD/h, highest_usd_per_hour: 30 USD/h, available: 2}
      owned: {capex_usd: 87600 USD, life_s: 1 year, power_w: 0 W, electricity_usd_per_kwh: 0 USD/kWh, available: 1}
    rome: {on_demand: 30 USD/h}
  P5.48xlarge:
    oslo: {on_demand: 40 USD/h, reserved: {upfront_usd: 8760 USD, term_s: 1 year}}
"""


def with_sheet(folder, text):
    (folder / "hardware/prices").mkdir(parents=True)
    (folder / "hardware/prices/acme.yaml").write_text(text, "utf-8")
    return Catalog.with_folders([str(folder)])


@pytest.mark.parametrize("everything", [False, True])
def test_a_sheet_of_the_user_may_name_a_node_by_any_of_its_names(tmp_path, everything):
    offers = with_sheet(tmp_path, ALIASED).offers(OfferFilter(providers=("acme",)), everything)
    assert {o.name: (o.usd_per_hour, o.available, o.highest_usd_per_hour) for o in offers} == {
        "acme/p5.48xlarge/oslo/reserved": (1, None, None),
        "acme/standard-nd96isrf-h100-v5/oslo/owned": (10, 1, None),
        "acme/standard-nd96isrf-h100-v5/oslo/on_demand": (20, 2, 30),
        "acme/standard-nd96isrf-h100-v5/rome/on_demand": (30, None, None),
        "acme/p5.48xlarge/oslo/on_demand": (40, None, None),
    }


@pytest.mark.parametrize("asked", ["p5.48xlarge", "P5.48XLARGE"])
def test_a_node_of_a_sheet_is_asked_for_by_any_of_its_names(tmp_path, asked):
    catalog = with_sheet(tmp_path, ALIASED)
    wanted = OfferFilter(providers=("acme",), nodes=(asked,), gpus=("h100",), markets=("on_demand",))
    assert [o.name for o in catalog.offers(wanted)] == ["acme/p5.48xlarge/oslo/on_demand"]


def test_all_regions_of_a_sheet_of_the_user_stay(tmp_path):
    """Each may be capped (decision 5); of what ships, the cheapest region of a node stands for all."""
    catalog = with_sheet(tmp_path, ALIASED)
    few, others = catalog.cheapest_regions(OfferFilter(gpus=("h100",)))
    every = catalog.offers(OfferFilter(gpus=("h100",)))
    assert [o for o in few if o.provider == "acme"] == [o for o in every if o.provider == "acme"]
    assert len([o for o in few if o.provider == "acme"]) == 5
    assert len(few) + others.total() == len(every)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "P5.48xlarge",
            "p5.49xlarge",
            "hardware/prices/acme.yaml:10: offers.p5.49xlarge: no node 'p5.49xlarge' in the catalog; did you mean",
        ),
        (
            "P5.48xlarge",
            "g6f.xlarge",
            "hardware/prices/acme.yaml:10: offers.g6f.xlarge: 'g6f.xlarge' is a slice of an L4",
        ),
        (
            "P5.48xlarge",
            "standard-nd96isrf-h100-v5",
            "hardware/prices/acme.yaml:10: offers.standard-nd96isrf-h100-v5: is standard-nd96isrf-h100-v5, as "
            "Standard_ND96isrf_H100_v5 is; put all its prices under one name",
        ),
    ],
)
def test_a_sheet_whose_node_is_wrong_is_named(tmp_path, old, new, said):
    catalog = with_sheet(tmp_path, ALIASED.replace(old, new))
    for ask in (catalog.offers, catalog.cheapest_regions):
        with pytest.raises(InputError) as error:
            ask(OfferFilter())
        assert str(error.value).startswith(f"{tmp_path}/{said}")
        assert "\n" not in str(error.value)


def test_the_hash_tells_catalogs_apart(mine):
    folder = mine("gpus", "h100-sxm", ("3.35 TB/s", "3.0 TB/s"))
    own = Catalog.with_folders([folder])
    assert own.hash(["gpus"]) != SHIPPED.hash(["gpus"])
    assert own.hash(["models"]) == SHIPPED.hash(["models"])
    assert Catalog().hash(["gpus", "models"]) == SHIPPED.hash(["gpus", "models"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((("name: l4", "name: l6"),), "hardware/gpus/l4.yaml: name 'l6' is not the file's name; want 'l4'"),
        ((("300 GB/s", "300"),), r"hardware/gpus/l4.yaml:\d+: memory_bytes_per_s: 300 has no unit"),
        ((("300 GB/s", "300 GiB"),), r"hardware/gpus/l4.yaml:\d+: memory_bytes_per_s: .*is in B, but B/s is wanted"),
        ((("vendor:", "vendr:"),), r"hardware/gpus/l4.yaml:\d+: vendr: no such field; did you mean vendor"),
        ((("vendor:", "name:"),), r"hardware/gpus/l4.yaml:\d+: key 'name' is here twice; keep one"),
    ],
)
def test_an_entry_of_the_user_that_is_wrong_names_file_and_key(mine, changes, said):
    catalog = Catalog.with_folders([mine("gpus", "l4", *changes)])
    with pytest.raises(InputError, match=said) as error:
        catalog.gpu("l4")
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_catalog_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Catalog.with_folders([str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="holds none of hardware, models, engines, techniques"):
        Catalog.with_folders([str(tmp_path)])
