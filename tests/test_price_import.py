"""A table of prices becomes sheets and nodes: what each column means, and what is passed over or refused."""

from __future__ import annotations

import random
from datetime import date

import pytest

from llmplan.errors import LlmplanError
from llmplan.freshness import AsOf
from llmplan.price_import import Imported, imported
from llmplan.price_list import Wanted, document, priced
from llmplan.price_rows import Asked, slug
from llmplan.report.render import as_csv, as_yaml
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Node, PriceSheet
from llmplan.spec.messages import read_as
from llmplan.spec.terms import Owned, Quote, Reservation
from llmplan.spec.yaml_files import read_yaml

SHIPPED = Catalog()
DAY = date(2026, 11, 20)
AS_OF = AsOf(day=DAY)
SKY = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Region,Price,SpotPrice,AvailabilityZone,GpuInfo"
HUNT = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot"


def table(*lines: str, rates: dict[str, float] | None = None, catalog: Catalog = SHIPPED, **asked: object) -> Imported:
    said = Asked(**{"snapshot": DAY, "dated": True, "tag": "q.csv", "provider": "acme"} | asked)  # type: ignore[arg-type]
    return imported("\n".join(lines) + "\n", "q.csv", catalog, said, rates or {})


def own_catalog(node: str = "p5.48xlarge", offer: str = "on_demand: 50 USD/h") -> Catalog:
    """Return the catalog with a sheet of acme's that prices one node."""
    catalog = Catalog()
    text = f"provider: acme\nsnapshot: 2026-11-01\nsource: quote\noffers:\n  {node}:\n    oslo:\n      {offer}\n"
    sheet = read_as(PriceSheet, read_yaml(text, "acme.yaml"))
    catalog.__dict__["prices"] = (sheet, *SHIPPED.prices)  # in the place of the cached property
    return catalog


def usd(found: Imported) -> dict[str, float]:
    """Price of each offer."""
    return {row.offer.name: row.offer.usd_per_hour for row in found.priced(SHIPPED, AS_OF)}


def only(found: Imported) -> Quote | Reservation | Owned:
    ((node, region, market, _),) = found.sheets[0].rows()
    return found.sheets[0].terms(node, region, market)


# ---- our own columns ----


def test_a_price_of_a_gpu_is_a_price_of_its_node() -> None:
    lines = "node,region,price_per_hour,price_per_gpu_hour", "p5.48xlarge,oslo,16,", "p5en.48xlarge,oslo,,2"
    assert usd(table(*lines)) == {
        "acme/p5.48xlarge/oslo/on_demand": 16.0,
        "acme/p5en.48xlarge/oslo/on_demand": 16.0,
    }


def test_a_new_node_is_described_by_its_row() -> None:
    found = table("gpu,gpus,vcpus,dram_gib,nic_gbit_per_s,price_per_gpu_hour,available", "H100,8,208,1800,400,1.9,5")
    (node,) = found.nodes
    assert (node.name, node.gpu, node.gpus, node.vcpus) == ("acme-8xh100-sxm", "h100-sxm", 8, 208)
    assert (node.dram_bytes, node.nic_bytes_per_s) == (1800 * 2**30, 5e10)
    assert usd(found) == {"acme/acme-8xh100-sxm/any/on_demand": pytest.approx(15.2)}
    assert only(found).available == 5


def test_a_comment_is_a_line_between_rows_and_no_part_of_a_cell() -> None:
    found = table("# ours", "node,region,note,price_per_hour", 'p5.48xlarge,a,"first', "# second", '",1', "# p5,b,,2")
    assert only(found).note == "first # second"
    (entry,) = found.read.entries
    assert entry.cells.line == 3
    skipped = table(HUNT, '"a', 'b",us-1,24,208,1800,8,H100,80,False', "c,us-1,1,4,16,,,,")
    assert skipped.read.skipped == {"no GPU": [4]}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_anywhere(ends: str) -> None:
    text = ends.join(["# ours", "node,note,price_per_hour", "", 'p5.48xlarge,"a', 'b",1', ""])
    found = imported(text, "q.csv", SHIPPED, Asked(provider="acme", dated=True), {})
    assert (only(found).note, found.read.entries[0].cells.line) == ("a b", 4)


def test_upfront_money_is_spread_over_the_term() -> None:
    found = table("node,upfront,price_per_hour,term_months", "p5.48xlarge,8760,20,12")
    assert usd(found) == {"acme/p5.48xlarge/any/reserved": pytest.approx(21)}


def test_an_owned_machine_costs_what_it_takes() -> None:
    found = table(
        "node,capex,life_years,power_kw,pue,electricity_per_kwh,hosting_per_month,maintenance_percent_per_year",
        "p5.48xlarge,87600,10,10,1.5,0.2,730,10%",
    )
    assert usd(found) == {"acme/p5.48xlarge/any/owned": pytest.approx(1 + 1 + 3 + 1)}
    assert set(found.read.defaults) == {"residual: 0", "interest_percent_per_year: 0"}


def test_what_an_owned_machine_draws_is_estimated_and_said() -> None:
    columns = "gpu,gpus,capex,life_years,electricity_per_kwh"
    measured, other = table(columns, "h100,8,1,4,0.1"), table(columns, "l4,1,1,4,0.1")
    assert only(measured).power_w == 8 * 1370
    assert only(other).power_w == 1.75 * SHIPPED.gpu("l4").tdp_w
    assert only(measured).pue == only(other).pue == 1
    assert any("8 x 1.37, all-in (SemiAnalysis" in said for said in measured.read.defaults)
    assert any("an estimate for owned ones is 1.17 to 1.55" in said for said in measured.notes)
    given = table(columns + ",power_kw", "h100,8,1,4,0.1,10")
    assert only(given).pue == 1.54
    assert any(said.startswith("pue: 1.54 (Uptime") for said in given.read.defaults)


def test_money_of_other_currencies_takes_the_rate_that_is_given() -> None:
    lines = "node,price_per_hour,currency", "p5.48xlarge,50,EUR"
    assert list(usd(table(*lines, rates={"EUR": 1.08})).values()) == [pytest.approx(54)]
    assert only(table(*lines, rates={"EUR": 1.08})).note == "1 EUR = 1.08 USD"


# ---- changes of prices that the catalog has ----

LISTED = {f"{s.provider}/{n}/{r}/{m}": usd for s in SHIPPED.prices for n, r, m, usd in s.rows()}
P5 = "aws/p5.48xlarge/us-east-1"


def test_a_discount_for_all_nodes_gives_way_to_that_of_one() -> None:
    found = usd(table("provider,node,discount_percent", "aws,p5.48xlarge,50", "aws,*,10"))
    aws = {name: price for name, price in LISTED.items() if name.startswith("aws/") and name.endswith("on_demand")}
    assert found[f"{P5}/on_demand"] == pytest.approx(aws.pop(f"{P5}/on_demand") / 2)
    assert {name: found[name] for name in aws} == pytest.approx({name: 0.9 * price for name, price in aws.items()})


SPREAD = "node,price_per_hour,highest_usd_per_hour,market,discount_percent"


def test_a_discount_is_taken_off_in_the_dearest_zone_too() -> None:
    quote = only(table(SPREAD, "p5.48xlarge,20,40,spot,50"))
    assert isinstance(quote, Quote)
    assert (quote.usd_per_hour, quote.highest_usd_per_hour) == (10, 20)
    catalog = own_catalog(offer="spot: {usd_per_hour: 20 USD/h, highest_usd_per_hour: 40 USD/h, zones: 2}")
    found = table("node,market,discount_percent", "*,spot,50", catalog=catalog)
    quote = only(found)
    assert isinstance(quote, Quote)
    assert (quote.usd_per_hour, quote.highest_usd_per_hour, quote.zones) == (10, 20, 2)


def test_a_discount_for_a_commitment_is_beside_the_listed_price() -> None:
    found = table("provider,node,discount_percent,term_months,available", "aws,p5.48xlarge,25,36,3")
    assert usd(found)[f"{P5}/reserved"] == pytest.approx(0.75 * LISTED[f"{P5}/on_demand"])
    assert usd(found)[f"{P5}/on_demand"] == LISTED[f"{P5}/on_demand"]
    terms = found.sheets[0].terms("p5.48xlarge", "us-east-1", "reserved")
    assert isinstance(terms, Reservation)
    assert (terms.available, terms.term_s) == (3, 3 * 31536000)


CHANGES = "provider,node,region,market,discount_percent,term_months,available"


@pytest.mark.parametrize("turned", [False, True])
def test_what_a_row_for_one_node_leaves_open_is_as_the_row_for_all_has_it(turned: bool) -> None:
    lines = ["aws,*,,on_demand,10,,", "aws,p5.48xlarge,,on_demand,,,4", "aws,p5.48xlarge,us-east-1,,,,3"]
    found = table(CHANGES, *(reversed(lines) if turned else lines))
    assert usd(found)[f"{P5}/on_demand"] == pytest.approx(0.9 * LISTED[f"{P5}/on_demand"])
    assert found.sheets[0].terms("p5.48xlarge", "us-east-1", "on_demand").available == 3
    assert found.sheets[0].terms("g6e.xlarge", "us-east-1", "on_demand").available is None


def test_a_discount_of_nothing_is_one() -> None:
    found = usd(table(CHANGES, "aws,*,,,10,,", "aws,p5.48xlarge,,,0,,"))
    assert found[f"{P5}/on_demand"] == LISTED[f"{P5}/on_demand"]


def test_commitments_of_one_length_are_merged_and_of_others_are_not() -> None:
    rows = {"36": (0.75, 3), "12": (1.0, 3)}
    for months, (share, nodes) in rows.items():
        found = table(CHANGES, "aws,*,,,25,36,", f"aws,p5.48xlarge,,,,{months},3", "aws,*,,,10,,")
        assert usd(found)[f"{P5}/reserved"] == pytest.approx(share * LISTED[f"{P5}/on_demand"])
        assert usd(found)[f"{P5}/on_demand"] == pytest.approx(0.9 * LISTED[f"{P5}/on_demand"])
        assert found.sheets[0].terms("p5.48xlarge", "us-east-1", "reserved").available == nodes


@pytest.mark.parametrize("written", ["P5.48xlarge", "p5.48xlarge"])
@pytest.mark.parametrize("asked", ["*", "P5.48XLARGE", "p5.48xlarge"])
def test_a_change_finds_a_node_by_any_of_its_names(written: str, asked: str) -> None:
    found = table("node,discount_percent", f"{asked},10", catalog=own_catalog(written))
    assert usd(found) == {"acme/p5.48xlarge/oslo/on_demand": pytest.approx(45)}


def test_a_quota_changes_no_price() -> None:
    found = table("provider,node,available", "aws,p5.48xlarge,7")
    assert usd(found) == {name: price for name, price in LISTED.items() if name.startswith("aws/")}
    assert found.sheets[0].terms("p5.48xlarge", "us-east-1", "on_demand").available == 7
    assert found.sheets[0].snapshot == next(s.snapshot for s in SHIPPED.prices if s.provider == "aws")


def test_a_sheet_has_the_oldest_day_of_its_prices() -> None:
    found = table("node,region,price_per_hour,snapshot", "p5.48xlarge,a,1,2026-11-02", "p5.48xlarge,b,1,2026-11-01")
    assert found.sheets[0].snapshot == date(2026, 11, 1)
    assert found.notes == ("acme: prices of several days; the sheet has the oldest, 2026-11-01",)
    assert table("node,price_per_hour", "p5.48xlarge,1", snapshot=None).sheets[0].snapshot is None


def test_of_a_known_and_an_unknown_day_the_day_is_unknown() -> None:
    lines = "node,region,price_per_hour,snapshot", "p5.48xlarge,a,1,2026-11-02", "p5.48xlarge,b,1,"
    found = table(*lines, snapshot=None)
    assert found.sheets[0].snapshot is None
    assert found.notes == ("acme: prices of several days; one is unknown, so the day of the sheet is unknown",)


def test_a_provider_whose_prices_are_replaced_is_named() -> None:
    found = table("provider,node,price_per_hour", "aws,p5.48xlarge,1")
    count = sum(name.startswith("aws/") for name in LISTED)
    assert found.notes == (f"aws: with this sheet the {count} prices that the catalog has of it are not offered",)


# ---- files ----


def test_what_is_written_is_read_back() -> None:
    found = table(
        "node,gpu,gpus,region,capex,life_years,electricity_per_kwh,upfront,term_months,price_per_hour,available",
        "dgx,h100,8,berlin,280000,4.5,0.18,,,,2",
        "dgx,,,berlin,,,,8760,12,10,",
        "dgx,,,berlin,,,,,,12.5,",
        "dgx,,,NO,,,,,,12.5,",
    )
    files = found.files()
    assert set(files) == {"hardware/prices/acme.yaml", "hardware/nodes/dgx.yaml"}
    sheet = read_as(PriceSheet, read_yaml(as_yaml(files["hardware/prices/acme.yaml"]), "acme.yaml"))
    assert sheet.rows() == [(n, r, m, pytest.approx(usd)) for n, r, m, usd in found.sheets[0].rows()]
    assert sheet.terms("dgx", "berlin", "owned") == found.sheets[0].terms("dgx", "berlin", "owned")
    assert read_as(Node, read_yaml(as_yaml(files["hardware/nodes/dgx.yaml"]), "dgx.yaml")) == found.nodes[0]


def test_the_list_of_prices_is_a_table_that_is_imported() -> None:
    rows = priced(SHIPPED, Wanted(gpus=("h100", "l40s")), AS_OF)
    text = as_csv(document(rows))
    found = imported(text, "list.csv", SHIPPED, Asked(dated=True), {})
    assert usd(found) == pytest.approx({row.offer.name: row.offer.usd_per_hour for row in rows})
    assert {s.provider: s.snapshot for s in found.sheets} == {row.offer.provider: row.offer.snapshot for row in rows}


def test_a_name_that_looks_like_a_number_is_read_back_as_a_name() -> None:
    found = table("node,gpu,gpus,region,price_per_hour", "1e5,h100,8,2e+5,12.5", "1.5E3,l4,1,7,1")
    sheet = read_as(PriceSheet, read_yaml(as_yaml(found.files()["hardware/prices/acme.yaml"]), "acme.yaml"))
    assert [(node, region) for node, region, *_ in sheet.rows()] == [("1.5e3", "7"), ("1e5", "2e+5")]


@pytest.mark.parametrize(
    ("text", "name"),
    [("8x_H100_SECURE", "8x-h100-secure"), ("a..b", "a.b"), ("../../etc", "etc"), ("My Node.-2", "my-node.2")],
)
def test_a_name_is_one_of_the_catalog(text: str, name: str) -> None:
    assert slug(text) == name


# ---- tables of others ----


def sky(*rows: str) -> Imported:
    return table(SKY, *rows)


def test_a_table_of_skypilot_is_read_in_any_order_of_columns() -> None:
    rows = [
        "gpu_8x_h100,H100,8.0,208,1800,us-1,24,,,",
        "gpu_1x_l4,L4,1.0,8,32,us-2,0.8,0.3,,",
    ]
    straight = sky(*rows)
    order = list(range(10))
    random.Random(1).shuffle(order)
    shuffled = table(*(",".join(line.split(",")[i] for i in order) for line in (SKY, *rows)))
    assert (
        usd(shuffled)
        == usd(straight)
        == {
            "acme/gpu-8x-h100/us-1/on_demand": 24.0,
            "acme/gpu-1x-l4/us-2/on_demand": 0.8,
            "acme/gpu-1x-l4/us-2/spot": 0.3,
        }
    )
    assert shuffled.nodes == straight.nodes
    assert {node.aliases for node in straight.nodes} == {("gpu_8x_h100",), ("gpu_1x_l4",)}


def test_of_several_zones_the_cheapest_counts_and_the_dearest_is_noted() -> None:
    found = sky(*(f"p5.48xlarge,H100,8,192,2048,us-east-1,55.04,{p},us-east-1{z}," for p, z in [(17, "a"), (55, "b")]))
    spot = found.sheets[0].terms("p5.48xlarge", "us-east-1", "spot")
    assert isinstance(spot, Quote)
    assert (spot.usd_per_hour, spot.highest_usd_per_hour, spot.zones) == (17, 55, 2)
    fixed = found.sheets[0].terms("p5.48xlarge", "us-east-1", "on_demand")
    assert isinstance(fixed, Quote)
    assert (fixed.usd_per_hour, fixed.highest_usd_per_hour) == (55.04, None)


def test_a_node_that_the_catalog_has_is_not_written_again() -> None:
    assert sky("p5.48xlarge,H100,8,192,2048,us-east-1,55.04,,,").nodes == ()


def test_a_name_that_the_catalog_has_for_another_shape_gets_the_provider_before_it() -> None:
    found = sky("p5.48xlarge,H100,4,96,1024,us-east-1,20,,,")
    assert [node.name for node in found.nodes] == ["acme-p5.48xlarge"]


def test_a_name_that_would_become_one_of_the_catalog_is_held_to_its_shape() -> None:
    row = "{},{},{},1,1,oslo,1,,,"
    found = sky(row.format("p5.48xlarge*", "L4", 1), row.format("P5_48xlarge)", "H100", 8), row.format("*", "L4", 1))
    assert [(node.name, node.gpu) for node in found.nodes] == [
        ("acme-p5.48xlarge", "l4"),
        ("p5-48xlarge", "h100-sxm"),  # not p5.48xlarge
    ]
    assert found.read.skipped == {"node *, which is no name": [4]}
    same = table("node,gpu,gpus,price_per_hour", "p5.48xlarge*,h100,8,40")
    assert (same.nodes, usd(same)) == ((), {"acme/p5.48xlarge/any/on_demand": 40})


def test_rows_that_cannot_be_used_are_counted_by_reason() -> None:
    found = sky(
        "a,H100,8,1,1,r,24,,,",
        "b,,,4,16,r,0.2,,,",
        ",tpu-v3-32,1,,,r,32,,,",
        "c,L4,0.5,4,16,r,0.2,,,",
        "d,L4,1,4,16,r,0,,,",
        "e,Voodoo2,1,4,16,r,1,,,",
        "f,Voodoo2,2,4,16,r,1,,,",
    )
    assert found.read.skipped == {
        "no GPU": [3, 4],
        "0.5 of a GPU": [5],
        "no price": [6],
        "GPU Voodoo2 is not in the catalog": [7, 8],
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b,L4,1,4,1e305,r,1,,,", "MemoryGiB is out of range"),
        ("b,L4,1,1e305,16,r,1,,,", "vCPUs is out of range"),
        ("b,L4,1,4,16,r,1e308,,,", "Price is out of range"),
        ("b,L4,1,4,16,r,inf,,,", "Price is out of range"),
        ("b,L4,1,4,16,r,1e7,,,", "price is out of range"),
        ("b,L4,1e7,4,16,r,1,,,", "1e7 of a GPU"),
        (f"b,L4,1,4,16,r,1,,,\"'SizeInMiB': {'9' * 400}\"", "SizeInMiB is out of range"),
    ],
)
def test_a_number_that_is_out_of_range_is_passed_over(row: str, reason: str) -> None:
    found = sky("a,H100,8,1,1,r,24,,,", row)
    assert found.read.skipped == {reason: [3]}
    assert len(found.files()) == 2


@pytest.mark.parametrize("size", [".", "..", "1.2.3"])
def test_a_size_that_is_no_number_says_nothing(size: str) -> None:
    assert sky(f"a,L4,1,1,1,r,1,,,\"'SizeInMiB': {size}\"").nodes[0].gpu == "l4"


def test_a_size_of_gpuhunt_that_is_out_of_range_is_passed_over() -> None:
    found = table(HUNT, "a,us-1,24,208,1800,8,H100,1e305,False", "b,us-1,1,4,16,1,L4,24,")
    assert found.read.skipped == {"gpu_memory is out of range": [2]}


def info(name: str, size: int) -> str:
    return f"\"{{'Gpus': [{{'Name': '{name}', 'MemoryInfo': {{'SizeInMiB': {size}}}}}]}}\""


@pytest.mark.parametrize(
    ("accelerator", "name", "size", "gpu"),
    [
        ("A100", "A100", 40960, "a100-40-sxm"),
        ("A100", "A100", 81920, "a100-80-sxm"),
        ("A100", "A100", 80, "a100-80-sxm"),  # GiB under the name of MiB
        ("H100", "H100 SXM", 80, "h100-sxm"),
        ("L40S", "L40S PCIe", 48, "l40s"),
    ],
)
def test_a_gpu_is_told_by_memory_and_socket(accelerator: str, name: str, size: int, gpu: str) -> None:
    assert sky(f"a,{accelerator},1,1,1,r,1,,,{info(name, size)}").nodes[0].gpu == gpu


def test_another_part_of_the_same_name_is_passed_over() -> None:
    found = sky("a,H100,1,1,1,r,1,,,", f"b,L4,1,1,1,r,1,,,{info('L4', 96)}")
    assert list(found.read.skipped) == ["GPU L4 with 96.0 GiB is not the l4 of the catalog"]
    pcie = sky("a,L4,1,1,1,r,1,,,", "gpu_1x_h100_pcie,H100,1,1,1,r,1,,,")
    assert [node.gpu for node in pcie.nodes if node.gpu == "h100-sxm"] == []


def test_a_table_of_gpuhunt_is_read() -> None:
    rows = "a,us-1,24,208,1800,8,H100,80,False", "a,us-1,14,208,1800,8,H100,80,True", "b,us-1,1,4,16,1,L4,24,"
    assert usd(table(HUNT, *rows)) == {
        "acme/a/us-1/on_demand": 24.0,
        "acme/a/us-1/spot": 14.0,
        "acme/b/us-1/on_demand": 1.0,
    }


# ---- what is refused ----


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("node,price_per_hour,avialable", "p5.48xlarge,1,2"), "q.csv: no column 'avialable' is read; did you mean av"),
        (("node,region", "p5.48xlarge,oslo"), "q.csv:2: has no price; want price_per_hour"),
        (("node,price_per_hour", "p5.48xlarg,1"), "q.csv:2: node: no node 'p5.48xlarg' in the catalog; did you mean"),
        (("gpu,gpus,price_per_hour", "h10,8,1"), "q.csv:2: gpu: no GPU 'h10' in the catalog; did you mean"),
        (("gpu,price_per_hour", "h100,1"), "q.csv:2: node: missing; name one, or give gpu and gpus"),
        (("node,gpus,price_per_hour", "p5.48xlarge,4,1"), "q.csv:2: gpu: p5.48xlarge has 8 h100-sxm, this row says 4"),
        (
            ("node,gpu,gpus,price_per_hour", "p5.48xlarge*,l4,1,1"),
            "q.csv:2: gpu: p5.48xlarge has 8 h100-sxm, this row says 1 l4; give the node another name",
        ),
        (("node,price_per_hour", "p5.48xlarge*,1"), "q.csv:2: node: no node 'p5.48xlarge*' in the catalog; did you"),
        (("node,price_per_hour", "p5.48xlarge,cheap"), "q.csv:2: price_per_hour: 'cheap' is no number"),
        (("node,price_per_hour", 'p5.48xlarge,"1,5"'), "q.csv:2: price_per_hour: '1,5' is no number; want one such as"),
        (("node,price_per_hour", "p5.48xlarge,-1"), "q.csv:2: price_per_hour: -1 is out of range; want 0 or more"),
        ((SPREAD, "p5.48xlarge,40,20,spot,"), "q.csv:2: highest_usd_per_hour: is less than the price, 40; want that"),
        (
            ("node,price_per_gpu_hour", "p5.48xlarge,1e308"),
            "q.csv:2: price_per_gpu_hour: 1e308 is out of range; want 1e",
        ),
        (("node,price_per_gpu_hour", "p5.48xlarge,1e6"), "q.csv:2: an hour comes to 8e+06 USD; want 1,000,000 USD or"),
        ((SPREAD, "p5.48xlarge,40,1e7,spot,"), "q.csv:2: an hour comes to 1e+07 USD; want 1,000,000 USD or less"),
        (("gpu,gpus,dram_gib,price_per_hour", "l4,1,1e305,1"), "q.csv:2: dram_gib: 1e305 is out of range; want 1e+15"),
        (("gpu,gpus,nic_gbit_per_s,price_per_hour", "l4,1,1e305,1"), "q.csv:2: nic_gbit_per_s: 1e305 is out of range"),
        (("gpu,gpus,price_per_hour", "l4,1e305,1"), "q.csv:2: gpus: 1e305 is out of range; want 1e+06 or less"),
        (
            ("node,price_per_hour,available", "p5.48xlarge,1,1e300"),
            "q.csv:2: available: 1e300 is out of range; want 1e",
        ),
        (
            ("node,capex,life_years,electricity_per_kwh,power_kw", "p5.48xlarge,1e15,1,1e15,1e15"),
            "q.csv:2: an hour comes to 1.54e+30 USD",
        ),
        (("node,price_per_hour", "p5.48xlarge,1e999"), "q.csv:2: price_per_hour: 1e999 is out of range"),
        (
            ("node,price_per_hour,price_per_gpu_hour", "p5.48xlarge,16,3"),
            "q.csv:2: price_per_hour 16 and price_per_gpu_hour 3 are not one price of 8 GPUs; keep one",
        ),
        (
            ("node,usd_per_hour,currency", "p5.48xlarge,1,EUR"),
            "q.csv:2: usd_per_hour: is in USD, this row in EUR",
        ),
        (("node,price_per_hour,currency", "p5.48xlarge,1,EUR"), "q.csv:2: currency: EUR has no rate; give --rate EUR="),
        (("node,price_per_hour,market", "p5.48xlarge,1,spott"), "q.csv:2: market: 'spott' is not known here; did you"),
        (("node,upfront,market", "p5.48xlarge,1,spot"), "q.csv:2: term_months: missing"),
        (
            ("node,upfront,term_months,market", "p5.48xlarge,1,12,spot"),
            "q.csv:2: market: spot does not go with these terms; want reserved",
        ),
        (("node,upfront,term_months", "p5.48xlarge,1,0"), "q.csv:2: term_months: 0 years is out of range; want an"),
        (
            ("node,capex,life_years,electricity_per_kwh", "p5.48xlarge,1,9000,0.1"),
            "q.csv:2: life_years: 9000 years is out of range; want an hour to 100 years",
        ),
        (("node,capex,life_years", "p5.48xlarge,1,4"), "q.csv:2: electricity_per_kwh: missing"),
        (("node,capex,price_per_hour", "p5.48xlarge,1,4"), "q.csv:2: has a price and capex"),
        (
            ("node,capex,life_years,electricity_per_kwh,pue", "p5.48xlarge,1,4,0.1,1.3"),
            "q.csv:2: pue: goes with power_kw",
        ),
        (
            ("node,capex,life_years,electricity_per_kwh,residual", "p5.48xlarge,1,4,0.1,2"),
            "q.csv:2: residual: is more than capex",
        ),
        (
            ("node,price_per_hour", "p5.48xlarge,1", "p5.48xlarge,2"),
            "q.csv:3: a second price of acme/p5.48xlarge/any",
        ),
        (("node,price_per_hour,region", "p5.48xlarge,1,a/b"), "q.csv:2: region: 'a/b' is no name"),
        (("node,price_per_hour,available", "p5.48xlarge,1,2.5"), "q.csv:2: available: 2.5 is no whole number"),
        (("node,price_per_hour,snapshot", "p5.48xlarge,1,May"), "q.csv:2: snapshot: 'May' is no day; write it as"),
        (("provider,node,discount_percent", "aws,*,120"), "q.csv:2: discount_percent: 120 is out of range; want 0 to"),
        (("provider,node,discount_percent", "awss,*,12"), "q.csv:2: provider: no prices of 'awss' to change; did you"),
        (
            ("provider,node,discount_percent,market", "aws,p5.48xlarge,12,spot"),
            "q.csv:2: node: aws has no spot price of p5.48xlarge in any region to change",
        ),
        (
            ("provider,node,discount_percent", "aws,p5.49,1"),
            "q.csv:2: node: no node 'p5.49' in the catalog",
        ),
        (
            ("provider,node,price_per_hour", "A/B,p5.48xlarge,1"),
            "q.csv:2: provider: 'A/B' is no name; write it as",
        ),
        (("node,node", "a,b"), "q.csv:1: column 'node' is here twice; keep one"),
        (("node,price_per_hour", "p5.48xlarge,1,2"), "q.csv:2: has more cells than the header; want 2"),
        (("node,price_per_hour", '"p5.48xlarge,1'), "q.csv:2: is no CSV"),
        (
            (
                "# ours",
                "",
                "node,note,price_per_hour",
                "# one",
                'p5.48xlarge,"a',
                "",
                '# b",1',
                "# two",
                "p5.48xlarge,,x",
            ),
            "q.csv:9: price_per_hour: 'x' is no number",
        ),
        (("node;price_per_hour", "p5.48xlarge;1"), "q.csv:1: cells are not separated by commas"),
        (("node\tprice_per_hour", "p5.48xlarge\t1"), "q.csv:1: cells are not separated by commas"),
        (("node,price_per_hour",), "q.csv: holds a header and no rows"),
        (("# nothing", ""), "q.csv: holds nothing; want a CSV with a header"),
        (("InstanceType,Price", "a,1"), "q.csv: no column 'AcceleratorCount', which a table of SkyPilot has"),
        ((SKY, "b,,,4,16,r,0.2,,,"), "q.csv: no row can be used: 1 no GPU"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(LlmplanError) as error:
        table(*lines)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_day_has_to_be_given() -> None:
    with pytest.raises(LlmplanError, match=r"q\.csv:2: has no day; give --snapshot 2026-01-31, or"):
        table("node,price_per_hour", "p5.48xlarge,1", dated=False, snapshot=None)
