"""Write the residuals that the project ships: `hardware/residuals/<gpu>.jsonl.gz`, for the parameters as they stand.

    python tools/ship_residuals.py --data DIR

Of rows that fits were made from only, so that left-out rows stay unseen. The same rows and parameters give the same
bytes. To be run again whenever `hardware/fits` or a form changes; a test compares both.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llmplan.cli.measured import read_measured
from llmplan.kernel_library import library_of
from llmplan.kernel_residual_rows import kernel_residuals
from llmplan.kernel_residuals import residual_lines
from llmplan.kernel_scores import Predicted, predictions
from llmplan.perf.kernels.forms import COLLECTIVES
from llmplan.spec.catalog import Catalog
from llmplan.spec.residuals import RESIDUALS_FORMAT, KernelResiduals, ResidualsHead

OUT = Path(__file__).resolve().parents[1] / "hardware" / "residuals"
LICENSE = "facts from rows under the licenses named in the source; notices and changes in NOTICE"


def lent(one: Predicted, parameters: Mapping[str, float], every: Sequence[Predicted]) -> Iterator[Predicted]:
    """Yield the rows of a collective in other formats, with the physical times of this one."""
    own = one.cell
    for cell in (other.cell for other in every):
        alike = (cell.operator.name, cell.gpu, cell.kernel) == (own.operator.name, own.gpu, own.kernel)
        if own.operator.name in COLLECTIVES and alike and cell.dtype != own.dtype:
            seconds = own.operator.predict(cell.columns, own.target, own.dtype, own.kernel, parameters)
            yield Predicted(cell=cell, seconds=seconds, basis=one.basis)


def main() -> None:
    """Write one file for each device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--output-dir", type=Path, default=OUT)
    asked = parser.parse_args()
    catalog = Catalog()
    library = library_of(catalog)
    found: dict[str, list[KernelResiduals]] = {}
    every = list(predictions(read_measured(asked.data, catalog), library))
    for one in every:
        cell = one.cell
        fit = library.find(cell.target.gpu, cell.operator.name, cell.dtype, cell.kernel)
        if fit is None or fit.basis != "calibrated":
            continue
        made = kernel_residuals(one, fit.parameters, lent(one, fit.parameters, every))
        name = f"{cell.operator.name} {cell.dtype} on {cell.gpu} ({cell.kernel})"
        if made is None:
            print(f"no gain    {name}")
            continue
        found.setdefault(cell.gpu, []).append(made)
        print(f"{len(made.moves_per_mille):6} {'own shapes' if made.own_shapes_only else 'everywhere'} {name}")
    asked.output_dir.mkdir(parents=True, exist_ok=True)
    for fits in catalog.kernels():
        if fits.gpu not in found:
            continue
        head = ResidualsHead(
            residuals=RESIDUALS_FORMAT, gpu=fits.gpu, source=fits.source, license=LICENSE, made=fits.fitted
        )
        text = "".join(f"{line}\n" for line in residual_lines(head, found[fits.gpu]))
        packed = gzip.compress(text.encode(), mtime=0)
        (asked.output_dir / f"{fits.gpu}.jsonl.gz").write_bytes(packed)
        rows = sum(len(one.moves_per_mille) for one in found[fits.gpu])
        print(f"{fits.gpu}: {len(found[fits.gpu])} kernels, {rows} rows, {len(packed)} bytes")


if __name__ == "__main__":
    main()
