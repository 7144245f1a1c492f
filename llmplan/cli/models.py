"""`llmplan models`: which models there are, their parameters, KV and memory; models of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmplan.cli import options as o
from llmplan.cli.listing import listed
from llmplan.errors import InputError, UnknownNameError, near

if TYPE_CHECKING:
    from llmplan.spec.catalog import Catalog
    from llmplan.spec.model import Model

ModelTypeOption = Annotated[
    str | None,
    typer.Option("--model-type", metavar="TYPE", help="Architecture of a config.json that names none: llama."),
]

SPARED = ("hf_id", "attention", "layers")
"""Columns that a narrow terminal goes without."""

app = typer.Typer(
    no_args_is_help=True, epilog=o.EXIT_CODES, help="Show models: shape, parameters, weights and KV; take in one's own."
)


@app.command("list", epilog=o.EXIT_CODES)
def list_models(
    pattern: Annotated[
        str | None, typer.Argument(metavar="PATTERN", help="Part of a name, alias or Hugging Face id: llama-3, nvfp4.")
    ] = None,
    family: Annotated[str | None, typer.Option("--family", help="Models of this family only, such as qwen3.")] = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    catalog: o.CatalogOption = None,
) -> None:
    """List the models of the catalog."""
    from llmplan.model_facts import facts

    opened = o.opened_catalog(catalog)
    people = fmt in (o.OutputFormat.table, o.OutputFormat.markdown)
    rows = []
    for name in _chosen(opened, pattern, family):
        told = facts(opened.model(name))
        rows.append(
            {
                "model": name,
                "hf_id": told.model.hf_id,
                "parameters": told.parameters_text if people else told.document["parameters"]["total"],
                "active": told.active_text if people else told.document["parameters"]["active"],
                "layers": told.model.layer_count,
                "attention": told.attention_text,
                "weights": told.model.weights.dtype,
            }
        )
    listed(rows, fmt, f"{len(rows)} model{'s' if len(rows) != 1 else ''}", SPARED)


@app.command("show", epilog=o.EXIT_CODES)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="Catalog name, or a config.json or its folder.")],
    model_type: ModelTypeOption = None,
    fmt: o.FormatOption = o.OutputFormat.table,
    catalog: o.CatalogOption = None,
) -> None:
    """Show one model: shape, parameters and memory by part."""
    from llmplan.model_facts import facts
    from llmplan.spec.readers import read_model

    opened = o.opened_catalog(catalog)
    model, warnings = read_model(name, opened, model_type=model_type)
    for warning in warnings:
        o.told(False, f"warning    {warning}")
    told = facts(model)
    if fmt in (o.OutputFormat.json, o.OutputFormat.yaml):
        from llmplan.report import render

        document = {**model.model_dump(mode="json"), **told.document}
        typer.echo(render.as_json(document) if fmt is o.OutputFormat.json else render.as_yaml(document), nl=False)
        return
    title = model.name if model.hf_id == model.name else f"{model.name} ({model.hf_id})"
    listed(_rows(model, told.rows, _engines(model, opened)), fmt, title)


@app.command("import", epilog=o.EXIT_CODES)
def import_model(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A config.json or the folder that holds it.")],
    output_dir: Annotated[
        str | None, typer.Option("--output-dir", metavar="DIR", help="Catalog folder to write; without it, print.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that folder.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; by default from the path.")] = None,
    hf_id: Annotated[str | None, typer.Option("--hf-id", metavar="ORG/NAME", help="Its Hugging Face id.")] = None,
    model_type: ModelTypeOption = None,
    quiet: o.QuietOption = False,
) -> None:
    """Turn a config.json into a model of a catalog folder."""
    from llmplan.cli.folders import changed_files, written_together
    from llmplan.model_file import model_file
    from llmplan.spec.catalog import Catalog
    from llmplan.spec.config_json import HUB_ID
    from llmplan.spec.readers import read_config

    if hf_id is not None and not HUB_ID.fullmatch(hf_id):
        raise InputError(f"--hf-id {hf_id}: is no id of the hub; want ORG/NAME such as Qwen/Qwen3-8B")
    model, warnings = read_config(path, name, model_type)
    if hf_id is not None:
        model = model.model_copy(update={"hf_id": hf_id})
    for warning in warnings:
        o.told(quiet, f"warning    {warning}")
    if model.name in Catalog().names("models"):
        o.told(quiet, f"note       {model.name} hides the shipped model of that name; --name gives it another")
    text = model_file(model)
    if output_dir is None:
        typer.echo(text, nl=False)
        return
    file = f"models/{model.name}.yaml"
    changed = changed_files(output_dir, {file: text}, overwrite)
    written_together(output_dir, dict.fromkeys(changed, text))
    said = f"wrote {output_dir}/{file}" if changed else f"{output_dir}/{file} is as it was"
    o.told(quiet, f"{said}; use it with --catalog {output_dir}")


def _chosen(catalog: Catalog, pattern: str | None, family: str | None) -> list[str]:
    """Return the names of the models that a pattern and a family leave."""
    from llmplan.spec.base import folded

    models = {name: catalog.model(name) for name in catalog.names("models")}
    if family is not None:
        models = {name: model for name, model in models.items() if model.family == family.lower()}
        if not models:
            known = {catalog.model(name).family for name in catalog.names("models")}
            raise UnknownNameError(f"--family {family}: no model is of it; {near(family, known)}".rstrip("; "))
    if pattern is None:
        return list(models)
    wanted = folded(pattern)
    found = [n for n, m in models.items() if any(wanted in folded(said) for said in (n, m.hf_id, *m.aliases))]
    if not found:
        advice = near(pattern, models) or "llmplan models list shows all"
        raise UnknownNameError(f"no model has {pattern!r} in its name; {advice}")
    return found


def _engines(model: Model, catalog: Catalog) -> str:
    """Return the engines that run models of this family, with the version it needs."""
    engines = [catalog.engine(name) for name in catalog.names("engines")]
    able = [e for e in engines if model.family in e.models]
    return ", ".join(f"{e.title} {e.models[model.family].since or e.version}" for e in able) or "none"


def _rows(model: Model, facts: list[tuple[str, str]], engines: str) -> list[dict[str, Any]]:
    shape = [
        ("family", model.family),
        ("engines", engines),
        ("layers", str(model.layer_count)),
        ("hidden size", f"{model.hidden_size:,}"),
        ("vocabulary", f"{model.vocab_size:,}"),
        ("longest context", f"{model.max_context_tokens:,} tokens"),
    ]
    return [{"fact": fact, "value": value} for fact, value in [*shape, *facts, ("source", model.source)]]
