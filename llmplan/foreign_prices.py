"""Prices in the columns of SkyPilot's catalog and of gpuhunt. What cannot be used is passed over and counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from llmplan.errors import InputError, UnknownNameError
from llmplan.price_rows import ANYWHERE, Asked, Entry, Nodes, Read, SkippedError, provider_of, slug
from llmplan.spec.catalog import Catalog
from llmplan.spec.hardware import Gpu, Market, Node
from llmplan.spec.price_cells import MOST, MOST_COUNT, Cells, Table
from llmplan.spec.terms import Quote, checked
from llmplan.units import BYTES_PER_GIB, brief, parse

SKYPILOT = frozenset({"InstanceType", "AcceleratorName", "AcceleratorCount", "Region"})
GPUHUNT = frozenset({"instance_name", "location", "price", "gpu_count", "gpu_name"})
MEMORY_OFF = 0.2
"""A GPU whose memory is said to be off by more than this is another part of the same name."""
SOCKETS = ("PCIe", "NVL")
"""Parts that are not the SXM module which a bare name means."""
LEAST_MIB = 2048
"""Below this a size that is called MiB is in GiB, as in the tables of RunPod and Shadeform."""

Rows = Callable[[Cells, Nodes, Asked], Iterator[Entry]]


def skypilot_rows(table: Table, catalog: Catalog, asked: Asked) -> Read:
    """Return what a table of SkyPilot's catalog says; its provider is not in it."""
    if asked.provider is None:
        raise InputError(f"{table.where}: is a table of SkyPilot, which names no provider; give --provider NAME")
    return _rows(table, catalog, asked, _skypilot)


def gpuhunt_rows(table: Table, catalog: Catalog, asked: Asked) -> Read:
    """Return what a table of gpuhunt says."""
    return _rows(table, catalog, asked, _gpuhunt)


def _rows(table: Table, catalog: Catalog, asked: Asked, read: Rows) -> Read:
    nodes = Nodes(catalog=catalog, tag=asked.tag)
    entries: list[Entry] = []
    skipped: dict[str, list[int]] = {}
    for cells in table.rows:
        try:
            entries += read(cells, nodes, asked)
        except SkippedError as error:
            skipped.setdefault(str(error), []).append(cells.line)
    return Read(entries=tuple(entries), skipped=skipped)


def _skypilot(cells: Cells, nodes: Nodes, asked: Asked) -> Iterator[Entry]:
    about = f"{cells.text('InstanceType')} {cells.text('GpuInfo')}"
    size = re.search(r"'SizeInMiB': *([0-9.]+)", cells.text("GpuInfo"))
    mib = _positive(size[1], "SizeInMiB") if size else 0.0
    memory = parse(f"{mib} {'GiB' if mib < LEAST_MIB else 'MiB'}", "B")
    node = _node(cells, nodes, asked, ("InstanceType", "AcceleratorName", "AcceleratorCount"), about, memory)
    prices: list[tuple[Market, str]] = [("on_demand", "Price"), ("spot", "SpotPrice")]
    found = [(market, usd) for market, column in prices if (usd := _number(cells, column))]
    if not found:
        raise SkippedError("no price")
    for market, usd in found:
        yield _entry(cells, asked, node, cells.text("Region"), market, usd)


def _gpuhunt(cells: Cells, nodes: Nodes, asked: Asked) -> Iterator[Entry]:
    memory = parse(f"{_number(cells, 'gpu_memory')} GiB", "B")
    about = f"{cells.text('instance_name')} {cells.text('gpu_name')}"
    node = _node(cells, nodes, asked, ("instance_name", "gpu_name", "gpu_count"), about, memory)
    usd = _number(cells, "price")
    if not usd:
        raise SkippedError("no price")
    market: Market = "spot" if cells.text("spot").lower() == "true" else "on_demand"
    yield _entry(cells, asked, node, cells.text("location"), market, usd)


def _entry(cells: Cells, asked: Asked, node: Node, region: str, market: Market, usd: float) -> Entry:
    quote = Quote.model_construct(usd_per_hour=round(usd, 6))
    try:
        checked(quote)
    except ValueError:
        raise SkippedError("price is out of range") from None
    return Entry(
        cells=cells,
        provider=provider_of(cells, asked),
        node=node,
        region=region.replace("/", "-") or ANYWHERE,
        market=market,
        terms=quote,
        snapshot=asked.day(cells),
    )


def _number(cells: Cells, column: str) -> float:
    """Return a cell as a number; 0 when it is empty or none."""
    return _positive(cells.text(column, "0"), column)


def _positive(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    if value > MOST:
        raise SkippedError(f"{column} is out of range")
    return value if value > 0 else 0.0


def _node(
    cells: Cells, nodes: Nodes, asked: Asked, columns: tuple[str, str, str], about: str, memory_bytes: float
) -> Node:
    """Return the node of a row: the catalog's, or a new one named as the row has it."""
    name, said, gpus = (cells.text(column) for column in columns)
    if not said or not gpus or not name:
        raise SkippedError("no GPU")
    if not slug(name):
        raise SkippedError(f"node {name}, which is no name")
    count = _number(cells, columns[2])
    if not 1 <= count <= MOST_COUNT or count != int(count):
        raise SkippedError(f"{gpus} of a GPU")
    gpu = _gpu(said, about, memory_bytes, nodes)
    provider = provider_of(cells, asked)
    for called in (name, f"{provider}-{name}"):
        known = nodes.known(called) or nodes.taken(called)
        if known is None:
            host = {
                "vcpus": int(_number(cells, "vCPUs") or _number(cells, "cpu")) or None,
                "dram_bytes": parse(f"{_number(cells, 'MemoryGiB') or _number(cells, 'memory')} GiB", "B") or None,
            }
            return nodes.add(called, provider, gpu.name, int(count), host)
        if (known.gpu, known.gpus) == (gpu.name, count):
            return known
    raise SkippedError(f"another shape under the name of node {name}")


def _gpu(name: str, about: str, memory_bytes: float, nodes: Nodes) -> Gpu:
    """Return the GPU that a row means: of several parts of a name, the one with that memory and that socket."""
    sockets = tuple(socket for socket in SOCKETS if re.search(rf"(?<![a-z]){socket}", about, re.IGNORECASE))
    key = (name, sockets, memory_bytes)
    if key not in nodes.gpus:
        nodes.gpus[key] = _found_gpu(name, sockets, memory_bytes, nodes.catalog)
    found = nodes.gpus[key]
    if isinstance(found, str):
        raise SkippedError(found)
    return found


def _found_gpu(name: str, sockets: tuple[str, ...], memory_bytes: float, catalog: Catalog) -> Gpu | str:
    """Return the GPU of the catalog, or why there is none."""
    size = f"{memory_bytes / BYTES_PER_GIB:.0f}GB"
    plain = (f"{name}-{size}", name)
    others: Gpu | None = None
    for candidate in (*(f"{one}-{socket}" for one in plain for socket in sockets), *plain):
        try:
            found = catalog.gpu(candidate)
        except UnknownNameError:
            continue
        if sockets and candidate in plain and found.name.endswith("-sxm"):
            continue
        if not memory_bytes or abs(found.memory_bytes / memory_bytes - 1) <= MEMORY_OFF:
            return found
        others = found
    said = " ".join([name, *sockets])
    if others is not None:
        return f"GPU {said} with {brief(memory_bytes, 'B')} is not the {others.name} of the catalog"
    return f"GPU {said} is not in the catalog"
