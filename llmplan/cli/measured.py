"""Folders of measured rows, as `validate` and `calibrate` take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmplan.errors import InputError

if TYPE_CHECKING:
    from llmplan.kernel_rows import Measured, TargetOf
    from llmplan.spec.catalog import Catalog

MOST_BYTES = 512 * 2**20
SUFFIXES = (".csv", ".csv.gz")


def read_measured(directory: str | None, catalog: Catalog) -> Measured:
    """Return the rows of every file of kernel times in a folder, or of one file, or the shipped ones.

    Raises
    ------
    InputError
        There is no such folder, it holds no file of kernel times, or a file lacks columns.
    """
    from llmplan.kernel_rows import KEYS, measured_rows

    if directory is None:
        return measured_rows(catalog.kernel_rows(), targets(catalog))
    path = Path(directory)
    if not path.exists():
        raise InputError(f"{directory}: no such folder; want one with {', '.join(KEYS)} as .csv or .csv.gz")
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES))
    known = [p for p in files if p.name.split(".")[0] in KEYS]
    if not known:
        raise InputError(f"{directory}: holds no kernel times; want {', '.join(KEYS)} as .csv or .csv.gz")
    return measured_rows(_texts(known), targets(catalog))


def _texts(files: list[Path]) -> Iterator[tuple[str, str]]:
    from llmplan.spec.readers import read_text

    for path in files:
        text, where = read_text(str(path), MOST_BYTES)
        yield where, text


def targets(catalog: Catalog) -> TargetOf:
    """Return what finds the device of a name, with the link inside its host."""
    from functools import cache

    from llmplan.errors import LlmplanError
    from llmplan.perf.kernels.forms import Target

    @cache
    def target(name: str) -> Target | None:
        try:
            gpu = catalog.gpu(name)
        except LlmplanError:
            return None
        link = gpu.link or gpu.host_link
        return Target(gpu=gpu, link_bytes_per_s=catalog.link(link).bytes_per_s if link else 0.0)

    return target
