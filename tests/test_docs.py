"""The documents say what the code does: commands, links, files to copy, and the Python snippet."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from llmplan.spec.catalog import KINDS, Catalog
from llmplan.spec.hardware import PriceSheet
from llmplan.spec.messages import read_as
from llmplan.spec.readers import read_question
from llmplan.spec.workload import WorkloadFile
from llmplan.spec.yaml_files import read_yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"])
FOLDERS = {folder: kind for kind, (folder, _) in KINDS.items()}
NOUNS = dict(KINDS.values()) | {"hardware/prices": PriceSheet}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def files_in(page: Path) -> dict[str, str]:
    """YAML blocks whose first line is a comment with their path."""
    named = {}
    for block in blocks(page, "yaml"):
        first = re.match(r"# ([\w./-]+\.yaml)\n", block)
        if first:
            named[first[1]] = block
    return named


def prose(page: Path) -> str:
    """The text outside of code."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_cli_docs", ROOT / "tools" / "make_cli_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own_catalog(tmp_path):
    """The files of docs/extend.md in a folder, as a reader would lay them down."""
    for path, text in files_in(ROOT / "docs" / "extend.md").items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_page_of_commands_is_what_the_commands_say(maker, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page(), "run python tools/make_cli_docs.py"


def test_every_command_is_on_the_page(maker):
    import typer.main

    from llmplan.cli.app import app

    wanted = {"llmplan"}
    for name, command in typer.main.get_command(app).commands.items():
        wanted |= {f"llmplan {name}", *(f"llmplan {name} {inner}" for inner in getattr(command, "commands", {}))}
    assert set(re.findall(r"^## (.*)$", maker.PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == wanted
    assert [text.split("\n")[0] for _, text in maker.helps()] == [
        line for line in maker.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("Usage: ")
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, head = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{name_of(page)}: {target}"
        assert ROOT in place.parents, f"{name_of(page)}: {target} is outside of the project"
        assert not head or head in anchors(place), f"{name_of(page)}: no heading for {target}"


def test_every_page_can_be_reached_from_the_readme():
    seen, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+)", prose(page)):
            place = (page.parent / target).resolve()
            below = sorted(place.glob("*.md")) if place.is_dir() else [place]
            left += [p for p in below if p.suffix == ".md" and p.is_file() and p not in seen]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_there_are_files_to_copy_of_every_kind_that_is_explained():
    folders = {str(Path(path).parent) for path in files_in(ROOT / "docs" / "extend.md")}
    assert folders >= {"hardware/gpus", "hardware/nodes", "hardware/prices", "models", "engines"}


def test_files_to_copy_are_read_by_the_catalog(own_catalog):
    catalog = Catalog.with_folders([str(own_catalog)])
    for path in files_in(ROOT / "docs" / "extend.md"):
        folder, name = str(Path(path).parent), Path(path).stem
        if folder in FOLDERS:
            assert name in catalog.names(FOLDERS[folder])
            getter = {"gpus": catalog.gpu, "nodes": catalog.node, "models": catalog.model, "engines": catalog.engine}
            assert getter[FOLDERS[folder]](name).name == name
        elif folder == "hardware/prices":
            assert name in {sheet.provider for sheet in catalog.prices}


def test_files_to_copy_plan_something_together(own_catalog):
    from llmplan.recommend import recommend_plan

    question = read_question(str(own_catalog / "traffic.yaml"))
    answer = recommend_plan(question.fleet, Catalog.with_folders([str(own_catalog)]), where=question.where)
    assert {pool.gpu for pool in answer.plan.pools} == {"acme-x1"}
    assert {rental.offer for rental in answer.plan.rentals} == {"acme/acme-8x1/basement/owned"}
    assert answer.provenance.basis == {"acme-x1": "transferred"}


@pytest.mark.parametrize(("page", "path"), [(page, path) for page in PAGES for path in files_in(page)])
def test_every_file_to_copy_is_valid(page, path):
    text = files_in(page)[path]
    noun = NOUNS.get(str(Path(path).parent), WorkloadFile)
    assert read_as(noun, read_yaml(text, path))


def test_the_python_snippet_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for name in ("LLMPLAN_CATALOG", "LLMPLAN_SLO__TPOT"):
        monkeypatch.delenv(name, raising=False)
    names: dict[str, object] = {}
    for block in blocks(ROOT / "docs" / "python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own document
    said = capsys.readouterr().out
    assert "USD/h" in said
    assert "did you mean h100-sxm" in said


def test_public_names_are_all_explained():
    import llmplan

    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in llmplan.__all__ if f"`{name}" not in text and name != "__version__"] == []


def test_decisions_are_numbered_once():
    names = [path.name for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert len({int(name[:4]) for name in names}) == len(names)
