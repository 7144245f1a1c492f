"""What `llmplan prices` prints and writes, and what its folders do to a plan."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Ran, llmplan

from llmplan.cli import folders, prices

SPOT = ("prices", "list", "--gpu", "h100", "--market", "spot")
WORKLOAD = """\
model: llama-3.1-8b
workload: {input_tokens: 500, output_tokens: 200, rate: 60 requests/s}
slo: {ttft: 1 s p95, tpot: 60 ms p95}
"""
QUOTES = """\
provider,node,region,price_per_hour,available,capex,life_years,electricity_per_kwh,power_kw
mine,g6e.xlarge,home,0.01,1,,,,
mine,g6e.xlarge,attic,0.02,2,,,,
mine,p5.48xlarge,home,,1,280000,4,0.2,10
"""


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own, on a day in September."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMPLAN_TODAY", "2026-09-01")
    for name in ("COLUMNS", "LLMPLAN_CATALOG", "LLMPLAN_CURRENCY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "q.csv").write_text(QUOTES, "utf-8")
    (tmp_path / "w.yaml").write_text(WORKLOAD, "utf-8")
    return tmp_path


def good(*args: str) -> Ran:
    ran = llmplan(*args)
    assert ran.code in (0, None), ran.err
    return ran


def rows(*args: str) -> Any:
    return json.loads(good(*args, "--json", "-q").out)


def imported(*more: str) -> Ran:
    return good("prices", "import", "q.csv", "--snapshot", "2026-08-31", "--output-dir", "mine", *more)


# ---- list ----


def test_prices_come_with_host_day_age_and_source_the_cheapest_gpu_hour_first() -> None:
    found = rows(*SPOT)
    assert found
    assert [row["usd_per_gpu_hour"] for row in found] == sorted(row["usd_per_gpu_hour"] for row in found)
    for row in found:
        assert (row["gpu"], row["market"]) == ("h100-sxm", "spot")
        assert row["usd_per_gpu_hour"] * row["gpus"] == pytest.approx(row["usd_per_hour"])
        assert row["source"]
        assert (row["age_days"] is None) == (row["snapshot"] is None)
    assert rows("prices", "list", "--gpu", "H100-SXM5", "--market", "spot") == found


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_and_names_its_sources(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = good(*SPOT, "-q").out
    assert max(len(line) for line in out.splitlines()) <= width
    for row in rows(*SPOT):
        assert row["source"].split()[0] in out
    assert ("vCPUs" in out) == (width == 140)
    assert "\x1b[" not in out
    assert "spot is not firm" in out


def test_filters_narrow() -> None:
    every = rows("prices", "list")
    some = rows("prices", "list", "--provider", "aws,gcp", "--market", "on_demand", "--max-usd-per-gpu-hour", "2")
    assert [row for row in every if row["provider"] in ("aws", "gcp") and row["market"] == "on_demand"][: len(some)]
    assert all(row["usd_per_gpu_hour"] <= 2 and row["provider"] in ("aws", "gcp") for row in some)
    (one,) = rows("prices", "list", "--node", "p5.48xlarge", "--region", "us-east-1")
    assert one["usd_per_hour"] == 55.04


def test_prices_that_no_plan_takes_unasked_are_listed_too() -> None:
    """Those of an unknown day, with a warning, and of GPUs that are announced only."""
    Path("r.csv").write_text("provider,node,gpu,gpus,price_per_hour\nmine,r200-4,r200,4,9\n", "utf-8")
    good("prices", "import", "r.csv", "--snapshot", "2026-08-31", "--output-dir", "mine")
    ran = good("prices", "list", "--json", "--catalog", "mine")
    told = good("catalog", "list", "offers", "-f", "json", "--catalog", "mine")
    found, offers = json.loads(ran.out), json.loads(told.out)
    names = sorted("/".join(row[key] for key in ("provider", "node", "region", "market")) for row in found)
    assert names == sorted(row["offer"] for row in offers)
    assert {"vultr", "digitalocean"} <= {row["provider"] for row in found}
    assert "rubin-r200-nvl72" in {row["gpu"] for row in found}
    assert "prices of an unknown day: digitalocean, hotaisle, jarvislabs, vultr" in ran.err


def test_formats_tell_the_same() -> None:
    found = rows(*SPOT)
    assert yaml.safe_load(good(*SPOT, "-f", "yaml").out) == found
    assert len(list(csv.DictReader(io.StringIO(good(*SPOT, "-f", "csv").out)))) == len(found)
    assert good(*SPOT, "-f", "markdown").out.count("| spot |") == len(found)


def test_no_price_is_an_empty_list_and_a_hint() -> None:
    ran = good("prices", "list", "--gpu", "h100", "--max-usd-per-gpu-hour", "0.01", "--json")
    assert json.loads(ran.out) == []
    assert ran.err.startswith("note       no price is all of that; ")
    assert "without --max-usd-per-gpu-hour" in ran.err


def test_a_gpu_that_nobody_rents_is_said() -> None:
    ran = good("prices", "list", "--gpu", "trainium2")
    assert ran.err == "note       no price for trainium2 is in the catalog; add yours with llmplan prices import\n"
    both = good("prices", "list", "--gpu", "trainium2,b200", "-f", "csv")
    assert "no price for trainium2" in both.err
    assert "b200" in both.out


def test_a_price_of_every_region_is_listed_for_any_region() -> None:
    crusoe = rows("prices", "list", "--provider", "crusoe")
    assert {row["region"] for row in crusoe} == {"all"}
    assert rows("prices", "list", "--provider", "crusoe", "--region", "us-east-1") == crusoe


def test_a_plan_of_a_region_takes_imported_prices_of_every_region(at: Path) -> None:
    (at / "z.csv").write_text("provider,node,upfront,term_months\nz,p5.48xlarge,10,12\n", "utf-8")
    good("prices", "import", "z.csv", "--snapshot", "2026-08-31", "--output-dir", "mine")
    wanted = ("recommend", "w.yaml", "--catalog", "mine", "--set", "offers.regions=[us-east-1]")
    assert [one["offer"] for one in rows(*wanted)["plan"]["rentals"]] == ["z/p5.48xlarge/any/reserved"]


def test_a_limit_shows_the_cheapest() -> None:
    every = rows("prices", "list")
    assert rows("prices", "list", "--limit", "3") == every[:3]
    assert rows("prices", "list", "--limit", "0") == every
    assert "not shown" not in good("prices", "list", "-q").out
    few = good("prices", "list", "--gpu", "h100", "--limit", "2", "-q").out
    assert few.splitlines()[0].endswith(" prices, the cheapest 2")
    assert " dearer ones are not shown; --limit 0 shows all" in few
    assert rows("prices", "list") == every


@pytest.mark.parametrize(
    ("kind", "terminal", "most"), [("table", True, 100), ("table", False, None), ("csv", True, None)]
)
def test_how_many_are_shown_unasked(
    kind: str, terminal: bool, most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert prices._most(None, kind) == most
    assert prices._most(7, kind) == 7
    assert prices._most(0, kind) is None


@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_reader_that_leaves_early_is_no_error(streams: str) -> None:
    command = [sys.executable, "-m", "llmplan", "prices", "list", "--gpu", "trainium2,h100"]
    read, write = os.pipe()
    os.close(read)
    err = write if streams == "both" else subprocess.PIPE
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(command, stdout=write, stderr=err, env=where, check=False, timeout=60)
    os.close(write)
    assert ran.returncode == 0
    assert "rror" not in (ran.stderr or b"").decode()


def test_an_error_that_nobody_reads_keeps_its_code() -> None:
    read, write = os.pipe()
    os.close(read)
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "llmplan", "prices", "list", "--limit", "-1"]
    assert subprocess.run(command, stderr=write, env=where, check=False, timeout=60).returncode == 2
    os.close(write)


def test_old_prices_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = ("prices", "list", "--provider", "aws")
    assert good(*aws).err == ""
    monkeypatch.setenv("LLMPLAN_TODAY", "2026-11-22")
    assert good(*aws).err.startswith("warning    prices are older than 90 days: aws 2026-07-20 (125 days)")
    assert good(*aws, "-q").err == ""
    assert good(*aws, "--max-price-age", "125").err == ""
    assert llmplan(*aws, "--warn-as-error").code == 3


def test_a_plan_on_old_prices_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = ("estimate", "w.yaml", "--gpu", "l40s", "--set", "offers.providers=[aws]")
    assert rows(*fixed)["provenance"]["prices_age_days"] == 43
    assert rows(*fixed)["provenance"]["day"] == "2026-09-01"
    assert not any("older than" in said for said in rows(*fixed)["warnings"])
    assert any("older than 40 days" in said for said in rows(*fixed, "--max-price-age", "40")["warnings"])
    monkeypatch.setenv("LLMPLAN_TODAY", "2026-11-22")
    assert "aws 2026-07-20 (125 days)" in " ".join(good(*fixed).out.split())


# ---- another currency ----


def test_a_currency_changes_the_tables_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = ("estimate", "w.yaml", "--gpu", "l40s")
    dollars, euros = rows(*fixed), rows(*fixed, "--currency", "EUR=0.5")
    assert (euros["provenance"].pop("display_currency"), euros["provenance"].pop("display_per_usd")) == ("EUR", 0.5)
    assert (dollars["provenance"].pop("display_currency"), dollars["provenance"].pop("display_per_usd")) == ("USD", 1.0)
    assert euros == dollars
    usd = dollars["cost"]["usd_per_hour"]
    out = good(*fixed, "--currency", "EUR=0.5").out
    assert f"{usd / 2:,.2f} EUR/h · " in out
    assert "amounts in EUR: 1 USD = 0.5 EUR, as given" in out
    assert "$" not in out
    assert f"${usd:,.2f}/h · " in good(*fixed).out
    monkeypatch.setenv("LLMPLAN_CURRENCY", "EUR=0.5")
    assert good(*fixed).out == out
    assert " EUR/GPU-h " in good(*SPOT).out
    assert rows(*SPOT) == rows(*SPOT, "--currency", "EUR=2")


def test_a_price_taken_in_and_shown_in_its_currency_is_what_it_was() -> None:
    Path("e.csv").write_text("provider,node,price_per_hour,currency\nmine,p5.48xlarge,40,EUR\n", "utf-8")
    good("prices", "import", "e.csv", "--snapshot", "unknown", "--rate", "EUR=1.25", "--output-dir", "mine")
    (row,) = rows("prices", "list", "--provider", "mine", "--catalog", "mine")
    assert row["usd_per_hour"] == 50
    out = good("prices", "list", "--provider", "mine", "--catalog", "mine", "--currency", "EUR=0.8").out
    assert " 40.00\n" in out


# ---- import ----


def test_without_a_folder_nothing_is_written(at: Path) -> None:
    ran = good("prices", "import", "q.csv", "--snapshot", "unknown")
    assert "nothing written; --output-dir DIR writes it" in ran.err
    assert "not written" in ran.out
    assert "capital 7.99 + electricity 3.08" in " ".join(ran.out.split())
    assert sorted(path.name for path in at.iterdir()) == ["q.csv", "w.yaml"]


def test_what_is_written_is_used() -> None:
    assert "use it with --catalog mine" in imported().err
    found = rows("prices", "list", "--provider", "mine", "--catalog", "mine")
    assert {(row["node"], row["region"], row["market"]): row["available"] for row in found} == {
        ("g6e.xlarge", "home", "on_demand"): 1,
        ("g6e.xlarge", "attic", "on_demand"): 2,
        ("p5.48xlarge", "home", "owned"): 1,
    }
    assert "capital 7.99 + electricity 3.08" in good("prices", "list", "--explain", "--catalog", "mine", "-q").out


def test_an_existing_file_is_replaced_only_when_told(at: Path) -> None:
    imported()
    sheet = at / "mine" / "hardware" / "prices" / "mine.yaml"
    before = sheet.read_text("utf-8")
    assert "as it was" in imported().out
    (at / "q.csv").write_text(QUOTES.replace("0.01", "0.015"), "utf-8")
    refused = llmplan("prices", "import", "q.csv", "--snapshot", "2026-08-31", "--output-dir", "mine")
    assert (refused.code, refused.out) == (2, "")
    assert f"{Path('mine/hardware/prices/mine.yaml')} exists; give another folder or --overwrite" in refused.err
    assert sheet.read_text("utf-8") == before
    imported("--overwrite")
    assert "0.015 USD/h" in sheet.read_text("utf-8")


def test_files_are_written_all_or_none(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_text

    def full(path: Path, text: str, **more: Any) -> int:
        if path.name == "1":
            raise OSError(28, "No space left on device")
        return written(path, text, **more)

    (at / "n.csv").write_text("gpu,gpus,price_per_gpu_hour\nh100,8,2\n", "utf-8")
    monkeypatch.setattr(folders.Path, "write_text", full)
    args = ("prices", "import", "n.csv", "--provider", "mine", "--snapshot", "unknown", "--output-dir", "mine")
    ran = llmplan(*args)
    assert (ran.code, ran.out) == (2, "")
    assert "--output-dir mine: cannot be written (No space left on device)" in ran.err
    assert [path for path in (at / "mine").rglob("*") if path.is_file()] == []


def test_a_plan_takes_no_more_nodes_than_there_are() -> None:
    imported()
    document = rows("recommend", "w.yaml", "--gpu", "l40s", "--catalog", "mine")
    nodes = {rental["offer"]: rental["nodes"] for rental in document["plan"]["rentals"]}
    assert nodes["mine/g6e.xlarge/home/on_demand"] == 1
    assert nodes["mine/g6e.xlarge/attic/on_demand"] == 2
    assert any(not name.startswith("mine/") for name in nodes)


def test_owned_machines_are_on_offer_unasked_and_spot_is_not() -> None:
    imported()
    document = rows(
        "recommend", "w.yaml", "--gpu", "h100", "--catalog", "mine", "--set", "workload.rate=200 requests/s"
    )
    assert [rental["offer"] for rental in document["plan"]["rentals"]] == ["mine/p5.48xlarge/home/owned"]
    assert "offers.markets: on_demand, reserved, owned" in document["provenance"]["defaults"]
    rented = rows("recommend", "w.yaml", "--gpu", "h100", "--catalog", "mine", "--set", "offers.markets=[on_demand]")
    assert "/owned" not in str(rented["plan"]["rentals"])


def test_an_estimate_takes_no_more_nodes_than_there_are() -> None:
    imported()
    fixed = ("estimate", "w.yaml", "--gpu", "8xh100", "--catalog", "mine", "--set", "offers.markets=[owned]")
    assert good(*fixed, "--set", "deployment.replicas=1", "-q").out
    ran = llmplan(*fixed, "--set", "deployment.replicas=3", "--json", "-q")
    assert ran.code == 4
    no = json.loads(ran.out)["infeasible"]
    assert no["binding"] == "node_limit"
    assert no["reason"].endswith("need 3 nodes of mine/p5.48xlarge/home/owned, and 1 can be had")
    assert no["nearest"] == [{"change": "deployment.replicas: 1", "usd_per_hour": None}]


def test_what_cannot_be_had_is_listed_and_not_planned() -> None:
    Path("q.csv").write_text(QUOTES.replace("home,0.01,1", "home,0.01,0"), "utf-8")
    imported()
    assert 0 in [row["available"] for row in rows("prices", "list", "--provider", "mine", "--catalog", "mine")]
    document = rows("recommend", "w.yaml", "--gpu", "l40s", "--catalog", "mine")
    assert "home" not in str(document["plan"]["rentals"])
    assert any(excuse["message"] == "none of its nodes can be had" for excuse in document["excuses"])


ALIASES = """\
provider: mine
snapshot: 2026-08-31
source: quote
offers:
  G6E.xlarge:
    home: {on_demand: {usd_per_hour: 0.01 USD/h, available: 1}}
    attic: {on_demand: {usd_per_hour: 0.02 USD/h, highest_usd_per_hour: 0.03 USD/h, available: 2}}
  Standard_ND96isrf_H100_v5:
    home: {reserved: {upfront_usd: 87600 USD, usd_per_hour: 10 USD/h, term_s: 1 year}}
"""


def test_a_sheet_that_names_nodes_otherwise_is_listed_and_planned_on(at: Path) -> None:
    (at / "own/hardware/prices").mkdir(parents=True)
    (at / "own/hardware/prices/mine.yaml").write_text(ALIASES, "utf-8")
    found = rows("prices", "list", "--provider", "mine", "--catalog", "own")
    assert [(row["node"], row["region"], row["available"], row["highest_usd_per_hour"]) for row in found] == [
        ("g6e.xlarge", "home", 1, None),
        ("g6e.xlarge", "attic", 2, 0.03),
        ("standard-nd96isrf-h100-v5", "home", None, None),
    ]
    assert "upfront 10.00 + hourly 10.00" in good("prices", "list", "--explain", "--catalog", "own", "-q").out
    offers = json.loads(good("catalog", "list", "offers", "--catalog", "own", "-f", "json").out)
    assert {(row["offer"], row["usd_per_hour"]) for row in offers if row["offer"].startswith("mine/")} == {
        ("mine/g6e.xlarge/home/on_demand", 0.01),
        ("mine/g6e.xlarge/attic/on_demand", 0.02),
        ("mine/standard-nd96isrf-h100-v5/home/reserved", 20),
    }
    document = rows("recommend", "w.yaml", "--gpu", "l40s", "--catalog", "own")
    nodes = {rental["offer"]: rental["nodes"] for rental in document["plan"]["rentals"]}
    assert nodes["mine/g6e.xlarge/home/on_demand"] == 1
    assert nodes["mine/g6e.xlarge/attic/on_demand"] == 2


def test_a_sheet_with_an_unknown_node_is_named(at: Path) -> None:
    (at / "own/hardware/prices").mkdir(parents=True)
    (at / "own/hardware/prices/mine.yaml").write_text(ALIASES.replace("G6E.xlarge", "g6e.large"), "utf-8")
    for args in (("prices", "list"), ("catalog", "list", "offers"), ("recommend", "w.yaml")):
        ran = llmplan(*args, "--catalog", "own")
        assert (ran.code, ran.out) == (2, "")
        assert "hardware/prices/mine.yaml:5: offers.g6e.large: no node 'g6e.large' in the catalog; did you" in ran.err


def test_what_the_owned_machines_carry_is_the_nearest_answer() -> None:
    imported()
    busy = ("--catalog", "mine", "--set", "offers.markets=[owned]", "--set", "workload.rate=2000 requests/s")
    ran = llmplan("recommend", "w.yaml", *busy, "--json", "-q")
    assert ran.code == 4
    no = json.loads(ran.out)["infeasible"]
    assert no["binding"] == "node_limit"
    rate = next(near["change"] for near in no["nearest"] if near["change"].startswith("rate: "))
    assert 100 < float(rate.split()[1]) < 2000
