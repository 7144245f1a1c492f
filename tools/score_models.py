"""Count the parameters of every model of the catalog and compare them with what was published.

    python tools/score_models.py [--reference FILE] [--check]

`--reference` reads a table with the columns hf_id, published_total, ref_kind, published_active, formula_total and
formula_active into validation/model_parameters.csv first. Then docs/models.md is written from that file and the
catalog; `--check` writes nothing and ends with 1 when the page is not what would be written.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmplan.errors import UnknownNameError
from llmplan.model_facts import counted
from llmplan.spec.catalog import Catalog
from llmplan.spec.config_json import FAMILIES
from llmplan.spec.model import Model
from llmplan.spec.parameters import active_parameters, parameters

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "validation" / "model_parameters.csv"
PAGE = ROOT / "docs" / "models.md"
COLUMNS = ("hf_id", "published", "kind", "published_active", "reference", "reference_active")
KINDS = {"exact": "exact", "nomina": "nominal", "rounde": "rounded", "text-o": "rounded"}
"""Kinds of a published count, by the first letters of their description."""
EXACT, NOMINAL = 1e-4, 0.02
"""Most that a count may differ from one published to the digit (and from the reference), and from a rounded one."""

EXCEPTIONS = {
    "EleutherAI/gpt-j-6b": "the reference leaves out biases of the feed-forward blocks and of the head",
    "deepseek-ai/DeepSeek-V4-Flash": "the reference leaves out gates of entries and streams; transformers 5.23 has them",
    "nvidia/DeepSeek-V4-Flash-NVFP4": "as DeepSeek-V4-Flash",
    "microsoft/Phi-mini-MoE-instruct": "the reference leaves out biases of attention, norms and head",
    "openai-community/gpt2": "the reference counts a table of 2,048 positions; the model has 1,024",
    "openai-community/gpt2-xl": "as gpt2",
    "bigscience/bloom-7b1": "the reference counts the head apart; it is tied to the embedding",
    "facebook/opt-175b": "the reference counts three matrices a block; OPT has two, and biases",
    "stabilityai/stablelm-2-zephyr-1_6b": "the reference leaves out biases",
    "stepfun-ai/Step-3.7-Flash": "the reference leaves out the gate of each head; transformers 5.23 has it",
    "stepfun-ai/Step-3.7-Flash-FP8": "as Step-3.7-Flash",
    "sgl-project/DeepSeek-V4-Flash-FP8": "the reference counts this repacking wrong; weights are those of V4-Flash",
    "sgl-project/DeepSeek-V4-Pro-FP8": "as DeepSeek-V4-Flash-FP8",
    "mistralai/Mamba-Codestral-7B-v0.1": "the reference counts three times too many; transformers 5.23 counts as we do",
    "mistralai/Mistral-7B-apexplus": "a configuration of nobody's published weights",
    "state-spaces/mamba-130m-hf": "class defaults: 32 layers where the model has 24",
    "Zyphra/Zamba2-2.7B": "class defaults, and blocks that share weights: refused by name",
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": "a nest without most of its values: refused by name",
    "MiniMaxAI/MiniMax-M2(default)": "class defaults; the model is shipped as an alias of MiniMax-M2.5",
}
"""Rows of the reference that are not met within `EXACT`, or that no shipped model stands for, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published or referenced count beside ours."""

    hf_id: str
    kind: str
    """exact, rounded, nominal, or empty where nothing was published."""
    published: int | None
    published_active: int | None
    reference: int | None
    reference_active: int | None
    model: Model | None
    """null: nothing shipped stands for it."""
    total: int
    active: int

    @property
    def error(self) -> float | None:
        """How far our count is off the published one."""
        return self.total / self.published - 1 if self.published and self.model else None

    @property
    def active_error(self) -> float | None:
        """How far our active count is off the reference."""
        return self.active / self.reference_active - 1 if self.reference_active and self.model else None


def rows(catalog: Catalog) -> Iterator[Row]:
    """Yield every row of the committed table beside the catalog's model."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        for read in csv.DictReader(file):
            try:
                model: Model | None = catalog.model(read["hf_id"])
            except UnknownNameError:
                model = None
            numbers = {
                name: int(read[name]) if read[name] else None for name in COLUMNS if name not in ("hf_id", "kind")
            }
            yield Row(
                hf_id=read["hf_id"],
                kind=read["kind"],
                **numbers,
                model=model,
                total=sum(parameters(model).values()) if model else 0,
                active=active_parameters(model) if model else 0,
            )


def main() -> None:
    """Convert the reference when asked, then write or compare the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="table of published counts")
    parser.add_argument("--check", action="store_true", help="compare only")
    asked = parser.parse_args()
    if asked.reference:
        _convert(asked.reference)
    text = page(Catalog())
    if asked.check:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1)
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")


def _convert(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file, TABLE.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for read in sorted(csv.DictReader(file), key=lambda row: row["hf_id"].casefold()):
            kind = KINDS.get(read["ref_kind"][:6], "exact" if read["ref_kind"].startswith("exact") else "")
            cells = (read["published_total"], kind, read["published_active"], read["formula_total"])
            writer.writerow((read["hf_id"], *cells, read["formula_active"]))


HEAD = """\
# Models

Written by `tools/score_models.py`; edit that.

A model is one file in [models](../models), or any local `config.json` of an architecture listed below (with the
`hf_quant_config.json` beside it): `llmplan models show PATH` shows what is read, `llmplan models import PATH` writes it
as a file of one's own catalog folder. A key that nobody understood is warned of; an attention, state or expert kind
that is not modeled is an error, never a dense model in its place.

## Architectures

`model_type` of the files that are read: {types}.

| Mechanism | Model it by |
|---|---|
| grouped heads, one KV head, windows, chunks, keys as values, shared KV | `gqa`: `kv_heads`, `window`, `chunked`, `k_eq_v`, `shares_kv` |
| latent attention | `mla` |
| an indexer that chooses tokens or blocks | `sparse_tokens`, `indexer`; a layer without its own takes the choice before it |
| compressed entries beside a window | `compressed`: `compress_ratio` |
| gated delta rule, Kimi delta attention | `delta`: `decay` by head or by channel; a fixed state instead of KV |
| Mamba, Mamba-2 | `mamba1`, `mamba2` |
| experts: shared, latent, without gate, in some layers only | `moe`: `shared_experts`, `latent_size`, `gated`, and the order of `layers` |
| layers of a single block, layers that repeat | `layers` without `attention` or `ffn`; `repeat` |
| several residual streams | `residual_streams` |
| checkpoints in several formats, lists of exceptions, scales for the cache | `weights`: `mixed`, `bf16_modules`, `kv_dtype` |
| MTP layers, a vision tower | `mtp_layers`, `vision_parameters`: counted beside the text model |

The longest context is what vLLM derives where `--max-model-len` is not given: `original_max_position_embeddings` times
the factor for YaRN, `max_position_embeddings` times it for linear and dynamic scaling, and as the file says for
`llama3`, `longrope`, `su` and Gemma 3; `model_max_length` governs where there is one.

## Parameters

Counted by the formulas of `llmplan/spec/parameters.py`, embedding included. Of {exact} counts published to the digit,
{digits} are met to the digit and the largest difference is {worst:.4f} %; of {nominal} rounded ones the largest is
{worst_nominal:.2f} % ({worst_name}). Active counts are compared with a reference formula, {active} rows, all within
0.01 % but for the exceptions below. Published active counts differ by convention (with or without the embedding, the
head, the shared experts), so they are shown and not compared.

| Model | Parameters | Published | Difference | Active | Published active | Against the reference |
|---|---|---|---|---|---|---|
"""


def page(catalog: Catalog) -> str:
    """Return the whole page."""
    found = list(rows(catalog))
    shipped = [row for row in found if row.model]
    exact = [abs(row.error or 0.0) for row in shipped if row.kind == "exact"]
    others = [row for row in shipped if row.kind in ("nominal", "rounded")]
    worst = max(others, key=lambda row: abs(row.error or 0.0))
    head = HEAD.format(
        types=", ".join(f"`{name}`" for name in FAMILIES),
        exact=len(exact),
        digits=sum(1 for error in exact if error == 0.0),
        worst=100 * max(exact),
        nominal=len(others),
        worst_nominal=100 * abs(worst.error or 0.0),
        worst_name=worst.hf_id,
        active=sum(1 for row in shipped if row.reference_active),
    )
    lines = [_line(row) for row in shipped]
    tail = [f"| {hf_id} | {why} |" for hf_id, why in EXCEPTIONS.items()]
    return head + "\n".join(lines) + "\n\n## Exceptions\n\n| Row | Why |\n|---|---|\n" + "\n".join(tail) + "\n"


def _line(row: Row) -> str:
    published = f"{row.published:,} ({row.kind})" if row.published else ""
    error = f"{100 * row.error:+.4f} %" if row.error is not None else ""
    active = f"{100 * row.active_error:+.4f} %" if row.active_error is not None else ""
    told = counted(row.published_active) if row.published_active else ""
    return f"| {row.hf_id} | {row.total:,} | {published} | {error} | {row.active:,} | {told} | {active} |"


if __name__ == "__main__":
    main()
