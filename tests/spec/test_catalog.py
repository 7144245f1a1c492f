from __future__ import annotations

from pathlib import Path

import pytest

from llmplan.errors import InputError, UnknownNameError
from llmplan.model_file import model_file
from llmplan.spec.base import NAME_PATTERN, folded
from llmplan.spec.catalog import KINDS, Catalog
from llmplan.spec.fits import BASES
from llmplan.spec.messages import read_as
from llmplan.spec.model import Gqa, Model
from llmplan.spec.parameters import active_parameters, parameters
from llmplan.spec.workload import OfferFilter
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

ARCHITECTURES = {gpu.architecture for gpu in GPUS} | {"blackwell-ultra", "cdna2", "cdna4", "xe2"}
"""Of the shipped GPUs, and those that engines already run though no GPU of theirs is shipped."""

UNSERVED = {"volta", "gaudi", "tpu", "neuron", "apple"}
"""No package of an engine says that it runs on these; most of them have plugins (docs/methods/engines.md)."""

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
    assert SHIPPED.link(gpu.host_link).kind == "host"
    if gpu.link is None:
        assert gpu.link_domain == 1
    else:
        assert SHIPPED.link(gpu.link).kind == "device"
        assert SHIPPED.link(gpu.link).bytes_per_s > SHIPPED.link(gpu.host_link).bytes_per_s
        assert gpu.link_domain > 1


FP8_OFF = {"l40s"}
"""Datasheet peaks of bf16 and fp8 that are not of one clock: the datasheet says 362 and 733."""


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_halving_the_format_doubles_the_rate(gpu):
    rate = gpu.flop_per_s
    assert rate["bf16"] > 0
    if "fp8" in rate:
        assert rate["fp8"] / rate["bf16"] == pytest.approx(2, rel=0.02 if gpu.name in FP8_OFF else 0.001)
    if "fp4" in rate:
        assert rate["fp4"] / rate["fp8"] == pytest.approx(2, rel=0.001)
    if gpu.architecture in ("hopper", "blackwell", "blackwell-rtx", "cdna3", "ada"):
        assert "fp8" in rate
    if gpu.architecture.startswith("blackwell"):
        assert "fp4" in rate


@pytest.mark.parametrize("gpu", **named(GPUS))
def test_a_gpu_is_of_this_world(gpu):
    assert 8 * 2**30 < gpu.memory_bytes < 400 * 2**30
    assert 2e11 < gpu.memory_bytes_per_s < 2e13
    assert 1e9 < gpu.clock_hz < 3e9
    assert gpu.idle_w is None or gpu.idle_w < gpu.tdp_w / 3
    balance = gpu.flop_per_s["bf16"] / gpu.memory_bytes_per_s  # FLOP per byte
    assert 100 < balance < 600


def test_each_device_of_a_family_is_no_slower_than_the_one_before():
    a100, h100, h200, b200 = (SHIPPED.gpu(name) for name in ("a100-80-sxm", "h100-sxm", "h200-sxm", "b200-sxm"))
    for older, newer in ((a100, h100), (h100, h200), (h200, b200)):
        assert newer.flop_per_s["bf16"] >= older.flop_per_s["bf16"]
        assert newer.memory_bytes_per_s > older.memory_bytes_per_s
        assert newer.memory_bytes >= older.memory_bytes


@pytest.mark.parametrize("node", **named(NODES))
def test_a_node_holds_gpus_that_exist(node):
    assert node.gpu in SHIPPED.names("gpus")
    assert node.gpus in (1, 2, 4, 8, 16)
    assert node.link_domain is None or node.link_domain <= node.gpus
    assert node.provider in {sheet.provider for sheet in SHIPPED.prices}
    assert node.dram_bytes is None or 4 * 2**30 < node.dram_bytes / node.gpus < 2**40


@pytest.mark.parametrize("engine", **named([SHIPPED.engine(name) for name in SHIPPED.names("engines")]))
def test_an_engine_supports_devices_that_exist(engine):
    assert set(engine.support) <= ARCHITECTURES
    assert all(support.weight_dtypes and support.kv_dtypes for support in engine.support.values())


def test_every_released_gpu_is_served_by_some_engine():
    served = {name for engine in SHIPPED.names("engines") for name in SHIPPED.engine(engine).support}
    assert {gpu.architecture for gpu in GPUS if gpu.status == "released"} <= served | UNSERVED
    assert not served & UNSERVED


@pytest.mark.parametrize("name", SHIPPED.names("fits"))
def test_a_fit_is_of_a_gpu_that_exists(name):
    fits = SHIPPED.fits(name)
    assert fits.gpu in {*SHIPPED.names("gpus"), "generic"}
    assert {key.split(".")[0] for key in fits.operators} >= {"gemm", "attention_prefill", "attention_decode"}
    assert "all_reduce" in SHIPPED.fits("generic").collectives


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


def test_every_node_can_be_rented_somewhere():
    assert {node.name for node in NODES} <= {name for _, name, *_ in PRICES}


def test_a_gpu_hour_costs_what_such_things_cost():
    per_gpu = {(name, region, market): usd / SHIPPED.node(name).gpus for _, name, region, market, usd in PRICES}
    assert {key: usd for key, usd in per_gpu.items() if not 0.2 <= usd <= 30} == {}


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


# ---- names that are wrong, and folders of the user ----


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("gpus", "h10-sxm", "no GPU 'h10-sxm' in the catalog; did you mean .*h100-sxm.*(llmplan catalog list gpus)"),
        ("models", "lama-3.1-8b", "no model 'lama-3.1-8b' in the catalog; did you mean .*llama-3.1-8b"),
        ("links", "nvlink6", "no link 'nvlink6' in the catalog; did you mean .*nvlink"),
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
