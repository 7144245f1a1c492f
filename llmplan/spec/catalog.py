"""The catalog folders: what llmplan knows of devices, nodes, prices, models and engines, read by name when asked.

Folders given by the user (`--catalog DIR`, `LLMPLAN_CATALOG`) have the same shape and are searched first.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple, TypeVar

from llmplan.errors import InputError, UnknownNameError, near
from llmplan.spec.base import Spec, folded
from llmplan.spec.deployment import gpu_and_count
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Bands, KernelBands
from llmplan.spec.hardware import Gpu, Link, Market, Node, Offer, PriceRow, PriceSheet, Refused, plain_rows
from llmplan.spec.kernels import KernelFits, joined
from llmplan.spec.messages import dotted, read_as
from llmplan.spec.model import Model
from llmplan.spec.technique import Technique
from llmplan.spec.terms import Owning, Terms, terms_of
from llmplan.spec.workload import OfferFilter
from llmplan.spec.yaml_files import YamlText, read_yaml

S = TypeVar("S", bound=Spec)

KINDS: dict[str, tuple[str, type[Spec]]] = {
    "gpus": ("hardware/gpus", Gpu),
    "links": ("hardware/links", Link),
    "nodes": ("hardware/nodes", Node),
    "engines": ("engines", Engine),
    "models": ("models", Model),
    "fits": ("hardware/fits", KernelFits),
    "techniques": ("techniques", Technique),
}
"""Folder and noun of each kind of entry."""

_STATED = re.compile(r"^(gpu|status): ([\w.-]+)", re.MULTILINE)
"""What the filter of offers asks of a node or a GPU, in the text of a shipped file."""

PRICES = "hardware/prices"


class _Sheet(NamedTuple):
    """The prices of one provider."""

    provider: str
    snapshot: date | None
    rows: list[PriceRow]
    undated: bool
    """Shipped, and of an unknown day."""
    sheet: PriceSheet | None
    """As it was read, where it may hold more than plain prices."""
    path: Traversable
    raw: YamlText | None
    """Its text, where it was read with care."""

    def place(self, node: str) -> str:
        """Return where a node stands in the sheet: file, line and key."""
        file = self.raw.place(("offers", node)) if self.raw else f"{PRICES}/{self.provider}.yaml"
        return f"{file}: offers.{node}"


class _Allowed(NamedTuple):
    """A price that a filter keeps."""

    sheet: _Sheet
    written: str
    """Name of the node in the sheet, where it may be an alias."""
    node: Node
    region: str
    market: Market
    usd_per_hour: float
    """Price of the node. [USD/h]"""

    def terms(self) -> Terms:
        """Return what is known beside the price."""
        if self.sheet.sheet is None:
            return terms_of(self.usd_per_hour)
        return self.sheet.sheet.terms(self.written, self.region, self.market)

    def offer(self) -> Offer:
        """Return the price as an offer."""
        terms = self.terms()
        fields: dict[str, object] = {
            "name": f"{self.sheet.provider}/{self.node.name}/{self.region}/{self.market}",
            "node": self.node,
            "region": self.region,
            "market": self.market,
            "usd_per_hour": self.usd_per_hour,
            "snapshot": self.sheet.snapshot,
            "available": terms.available,
            "highest_usd_per_hour": getattr(terms, "highest_usd_per_hour", None),
        }
        return Offer.model_validate(fields, context={"base_units": True})


@cache
def root() -> Traversable:
    """Return the folder that holds the data: inside the wheel (or zip), or the checkout."""
    shipped = files("llmplan") / "_data"
    return shipped if shipped.is_dir() else Path(__file__).resolve().parents[2]


class Catalog:
    """All entries, by kind and name."""

    def __init__(self, folders: Sequence[Traversable] = (), shipped: Traversable | None = None) -> None:
        """Search `folders` first, then the shipped data (or data of the same form in `shipped`)."""
        self._shipped = shipped or root()
        self._folders = (*folders, self._shipped)
        own = [str(self._shipped / name).rstrip("/\\") for name in ("hardware", "models", "engines", "techniques")]
        self._own = tuple(f"{folder}{slash}" for folder in own for slash in "/\\")
        self._entries: dict[tuple[str, str], Spec] = {}
        self._listed: dict[str, dict[str, Traversable]] = {}
        self._facts: dict[tuple[str, str], dict[str, str]] = {}
        self._sheets: dict[str, tuple[PriceSheet, YamlText]] = {}

    @classmethod
    def with_folders(cls, paths: Sequence[str]) -> Catalog:
        """Return the shipped catalog with folders of the user searched first.

        Raises
        ------
        InputError
            A path is no folder, or holds none of the catalog's folders.
        """
        found = []
        for text in paths:
            path = Path(text)
            if not path.is_dir():
                raise InputError(f"--catalog {text}: no such folder")
            if not any((path / name).is_dir() for name in ("hardware", "models", "engines", "techniques")):
                raise InputError(f"--catalog {text}: holds none of hardware, models, engines, techniques")
            found.append(path)
        return cls(found)

    def names(self, kind: str) -> list[str]:
        """Return the names of all entries of a kind."""
        return sorted(self._paths(KINDS[kind][0]))

    def gpu(self, name: str) -> Gpu:
        """Return a GPU by name or alias."""
        return self._get("gpus", Gpu, name)

    def link(self, name: str) -> Link:
        """Return a link by name or alias."""
        return self._get("links", Link, name)

    def node(self, name: str) -> Node:
        """Return a node by name or alias."""
        return self._get("nodes", Node, name)

    def engine(self, name: str) -> Engine:
        """Return an engine by name or alias."""
        return self._get("engines", Engine, name)

    def model(self, name: str) -> Model:
        """Return a model by name, Hugging Face id or alias."""
        return self._get("models", Model, name)

    def technique(self, name: str) -> Technique:
        """Return a technique by name or alias."""
        return self._get("techniques", Technique, name)

    def fits(self, gpu: str) -> KernelFits | None:
        """Return the fitted kernels of one GPU, or None when nobody measured it."""
        return next((one for one in self.kernels() if one.gpu == gpu), None)

    def kernels(self) -> list[KernelFits]:
        """Return the fitted kernels of every measured GPU: a file of one's own stands before the shipped one.

        Operators and formats that a file holds replace those of the files after it; the others stay.
        """
        return list(self._kernels.values())

    @cached_property
    def fit_files(self) -> list[tuple[str, KernelFits]]:
        """Every file of fits with its name in messages, those of one's own first."""
        found = []
        for base in self._folders:
            for name, path in _yaml_in(base, KINDS["fits"][0]):
                where = self._where(path, f"{KINDS['fits'][0]}/{name}.yaml")
                one = read_as(KernelFits, self._read(path, where))
                if one.gpu != name:
                    raise InputError(f"{where}: gpu {one.gpu!r} is not the file's name; want {name!r}")
                found.append((where, one))
        return found

    @cached_property
    def _kernels(self) -> dict[str, KernelFits]:
        found: dict[str, KernelFits] = {}
        for _, one in self.fit_files:
            found[one.gpu] = joined(found[one.gpu], one) if one.gpu in found else one
        return dict(sorted(found.items()))

    def kernel_rows(self) -> Iterator[tuple[str, str]]:
        """Yield the shipped rows of measured kernels as (file name, text)."""
        for path in sorted((self._shipped / "validation" / "kernels").iterdir(), key=lambda p: p.name):
            if path.name.endswith(".csv.gz"):
                yield path.name, gzip.decompress(path.read_bytes()).decode()

    def kernel_residuals(self, gpu: str) -> tuple[str, str] | None:
        """Return (where, text) of the residuals of one GPU's kernels, or None where there are none."""
        for folder in self._folders:
            path = folder / "hardware" / "residuals" / f"{gpu}.jsonl.gz"
            if path.is_file():
                where = self._where(path, f"hardware/residuals/{path.name}")
                try:
                    return where, gzip.decompress(path.read_bytes()).decode()
                except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
                    raise InputError(f"{where}: cannot be read ({error})") from None
        return None

    @cached_property
    def kernel_bands(self) -> KernelBands:
        """Errors of kernel times by operator and basis, of the shipped validation."""
        name = "hardware/kernel_bands.yaml"
        return read_as(KernelBands, self._read(self._shipped / "hardware" / "kernel_bands.yaml", name))

    @cached_property
    def bands(self) -> Bands:
        """The error bands of the shipped validation."""
        return read_as(Bands, self._read(self._shipped / "hardware" / "bands.yaml", "hardware/bands.yaml"))

    @cached_property
    def owning(self) -> Owning:
        """What owning takes where the owner does not say."""
        return read_as(Owning, self._read(self._shipped / "hardware" / "owning.yaml", "hardware/owning.yaml"))

    @cached_property
    def prices(self) -> tuple[PriceSheet, ...]:
        """All price sheets; one of the user replaces the shipped one of the same provider."""
        sheets: dict[str, PriceSheet] = {}
        for folder in self._folders:
            for name, path in _yaml_in(folder, PRICES):
                sheet, _ = self._sheet(name, path)
                sheets.setdefault(sheet.provider, sheet)
        return tuple(sheets[name] for name in sorted(sheets))

    @cached_property
    def refused(self) -> Refused:
        """Names that are known and not modeled, with the reason."""
        return read_as(Refused, self._read(self._shipped / "hardware" / "refused.yaml", "hardware/refused.yaml"))

    def undated(self, wanted: OfferFilter) -> Counter[str]:
        """Return the shipped prices of an unknown day that a filter would keep if it named their provider.

        Returns
        -------
        Number of prices by provider; none where the filter names a provider or a node.
        """
        names = tuple(sheet.provider for sheet in self._price_rows if sheet.undated)
        if wanted.providers or wanted.nodes or not names:
            return Counter()
        named = wanted.model_copy(update={"providers": names})
        return Counter(row[0].provider for row in self._allowed(named, everything=False))

    @cached_property
    def _price_rows(self) -> tuple[_Sheet, ...]:
        """All prices as plain rows; those of shipped sheets are not checked again, a test of ours does it."""
        sheets: dict[str, _Sheet] = {}
        for folder in self._folders:
            for name, path in _yaml_in(folder, PRICES):
                sheet, text = None, None
                head = plain_rows(path.read_text(encoding="utf-8")) if self._is_shipped(path) else None
                if head is None:
                    sheet, text = self._sheet(name, path)
                    head = (sheet.provider, sheet.snapshot, sheet.rows())
                provider, snapshot, rows = head
                undated = snapshot is None and self._is_shipped(path)
                sheets.setdefault(provider, _Sheet(provider, snapshot, rows, undated, sheet, path, text))
        return tuple(sheets[name] for name in sorted(sheets))

    def _sheet(self, name: str, path: Traversable) -> tuple[PriceSheet, YamlText]:
        """Return a price sheet as it stands and its text, read once."""
        key = str(path)
        if key not in self._sheets:
            text = self._read(path, self._where(path, f"{PRICES}/{name}.yaml"))
            self._sheets[key] = read_as(PriceSheet, text), text
        return self._sheets[key]

    def offers(self, wanted: OfferFilter, everything: bool = False) -> list[Offer]:
        """Return every offer that `wanted` allows, in a fixed order.

        What nobody asked for by name is left out where it is not to be trusted: GPUs that are announced only, and
        shipped prices of an unknown day.

        Parameters
        ----------
        everything : bool
            Leave nothing out, to show what there is.

        Raises
        ------
        LlmplanError
            The filter names a GPU, provider, region or node that no price sheet has, or a sheet names no known node.
        """
        return [offer for offer, _ in self.offers_with_terms(wanted, everything)]

    def offers_with_terms(self, wanted: OfferFilter, everything: bool = False) -> list[tuple[Offer, Terms]]:
        """Return the same, each with what its price follows from."""
        found = [(row.offer(), row.terms()) for row in self._allowed(wanted, everything)]
        return sorted(found, key=lambda pair: (pair[0].usd_per_hour, pair[0].name))

    def cheapest_regions(self, wanted: OfferFilter) -> tuple[list[Offer], Counter[tuple[str, int, Market]]]:
        """Return what `wanted` allows in the cheapest region of each node, provider and market; and what is left out.

        Nodes of one name are alike in every region, and the catalog knows no cap on any: the dearer regions are in no
        cheapest plan (docs/decisions/0005). They are most of a large catalog. The user's own sheets may cap their
        nodes, so all their offers stay.

        Returns
        -------
        offers, others
            The offers in a fixed order; the number of dearer ones by GPU, GPUs of a node and market.
        """
        cheapest: dict[tuple[str, str, Market, str], _Allowed] = {}
        others: Counter[tuple[str, int, Market]] = Counter()
        for row in self._allowed(wanted, everything=False):
            key = (row.sheet.provider, row.node.name, row.market, row.region if row.sheet.sheet else "")
            kept = cheapest.setdefault(key, row)
            if kept is not row:
                others[row.node.gpu, row.node.gpus, row.market] += 1
                if (row.usd_per_hour, row.region) < (kept.usd_per_hour, kept.region):
                    cheapest[key] = row
        found = [row.offer() for row in cheapest.values()]
        return sorted(found, key=lambda o: (o.usd_per_hour, o.name)), others

    def _allowed(self, wanted: OfferFilter, everything: bool) -> Iterator[_Allowed]:
        """Yield the prices that a filter keeps."""
        gpus = {self._alone(name).name for name in wanted.gpus}
        self._check_filter(wanted)
        nodes = {self.node(name).name for name in wanted.nodes}
        for sheet in self._price_rows:
            if wanted.providers and sheet.provider not in wanted.providers:
                continue
            trusted = everything or bool(wanted.providers) or not sheet.undated
            chosen: dict[str, Node | None] = {}
            for name, region, market, usd in sheet.rows:
                if market not in wanted.markets or not wanted.keeps_region(region):
                    continue
                if name not in chosen:
                    try:
                        node = self._chosen(name, gpus, nodes, trusted, everything)
                    except UnknownNameError as error:
                        raise InputError(f"{self._blamed(sheet, name)}: {error}") from None
                    _check_alone(sheet, name, node, chosen)
                    chosen[name] = node
                node = chosen[name]
                if node is not None:
                    yield _Allowed(sheet, name, node, region, market, usd)

    def _chosen(self, name: str, gpus: set[str], nodes: set[str], trusted: bool, everything: bool) -> Node | None:
        """Return a node that the filter keeps: it is named, or nothing speaks against it."""
        if nodes:
            node = self.node(name)
            return node if node.name in nodes and (not gpus or node.gpu in gpus) else None
        if not trusted or (gpus and self._stated("nodes", name, "gpu") not in gpus):
            return None
        node = self.node(name)
        announced = self._stated("gpus", node.gpu, "status") == "preliminary"
        return node if gpus or everything or not announced else None

    def _blamed(self, sheet: _Sheet, name: str) -> str:
        """Return which file says an unknown name: the price sheet that of a node, or the node that of its GPU."""
        try:
            node = self.node(name).name
        except UnknownNameError:
            folder, path = PRICES, sheet.path
            steps: tuple[str, ...] = ("offers", name)
        else:
            folder, steps = KINDS["nodes"][0], ("gpu",)
            path = self._paths(folder)[node]
        raw = self._read(path, self._where(path, f"{folder}/{path.name}"))
        return f"{raw.place(steps)}: {dotted(steps)}"

    def _alone(self, name: str) -> Gpu:
        """Return a GPU that is named without a number."""
        try:
            gpu, count = gpu_and_count(name)
        except InputError:
            return self.gpu(name)
        found = self.gpu(gpu)
        if count is not None:
            raise InputError(f"offers.gpus: {name!r} has a number; cap it with limits.gpus or fix deployment.gpu")
        return found

    def _check_filter(self, wanted: OfferFilter) -> None:
        for field in ("providers", "regions"):
            if not getattr(wanted, field):
                continue
            known = {sheet.provider for sheet in self._price_rows}
            if field == "regions":
                known = {row[1] for sheet in self._price_rows for row in sheet.rows}
            for name in getattr(wanted, field):
                if name not in known:
                    advice = near(name, known) or "llmplan catalog list offers shows them"
                    raise UnknownNameError(f"offers.{field}: no {field[:-1]} {name!r} has a price; {advice}")

    def hash(self, kinds: Sequence[str]) -> str:
        """Return a short hash over all files of some kinds: two catalogs with the same hash give the same answers."""
        digest = hashlib.sha256()
        for kind in kinds:
            folder = KINDS[kind][0] if kind in KINDS else kind
            for name, path in sorted(self._paths(folder).items(), key=lambda pair: pair[0]):
                digest.update(name.encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def _paths(self, folder: str) -> dict[str, Traversable]:
        """Return the files of a folder by stem; those of the first catalog folder win."""
        if folder not in self._listed:
            found: dict[str, Traversable] = {}
            for base in self._folders:
                for name, path in _yaml_in(base, folder):
                    found.setdefault(name, path)
            self._listed[folder] = found
        return self._listed[folder]

    def _stated(self, kind: str, name: str, field: str) -> str:
        """Return a field of an entry that the filter of offers asks for, without reading all of a shipped file."""
        known = self._facts.get((kind, name))
        if known is None:
            path = self._paths(KINDS[kind][0]).get(name)
            if path is not None and self._is_shipped(path) and (kind, name) not in self._entries:
                known = dict(_STATED.findall(path.read_text(encoding="utf-8")))
            else:
                entry = self.node(name) if kind == "nodes" else self.gpu(name)
                known = {"gpu": getattr(entry, "gpu", ""), "status": getattr(entry, "status", "")}
            self._facts[kind, name] = known
        return known[field]

    def _get(self, kind: str, noun: type[S], name: str) -> S:
        found = self._entries.get((kind, name)) or self._find(kind, noun, name)
        self._entries[kind, name] = found
        if not isinstance(found, noun):
            raise TypeError(f"{kind} {name} is a {type(found).__name__}")
        return found

    def _find(self, kind: str, noun: type[S], name: str) -> S:
        paths = self._paths(KINDS[kind][0])
        if name in paths:
            return self._read_entry(kind, noun, name, paths)
        wanted = folded(name)
        for stem in paths:
            if folded(stem) == wanted:
                return self._read_entry(kind, noun, stem, paths)
        for stem, path in paths.items():
            if self._is_shipped(path) and wanted not in folded(path.read_text(encoding="utf-8")):
                continue
            entry = self._read_entry(kind, noun, stem, paths)
            if wanted in map(folded, _other_names(entry)):
                return entry
        reason = self.refusal(kind, name)
        if reason:
            raise UnknownNameError(reason)
        known = {alias for stem in paths for alias in _other_names(self._read_entry(kind, noun, stem, paths))}
        advice = near(name, {*paths, *known})
        singular = kind[:-1] if kind != "fits" else "fit"
        shown = {"gpu": "GPU"}.get(singular, singular)
        command = "llmplan models list" if kind == "models" else f"llmplan catalog list {kind}"
        said = f"no {shown} {name!r} in the catalog"
        raise UnknownNameError(f"{said}; {advice} ({command})" if advice else f"{said}; {command} lists them")

    def refusal(self, kind: str, name: str) -> str | None:
        """Return why a name of a kind is refused, and which entries to name instead; None when nobody knows it."""
        return self.refused.reason(kind, name, self._gpus_meant)

    def _gpus_meant(self, name: str) -> list[str]:
        """Return the GPUs that a part of a refused name may mean: its own, or those that its refusal names."""
        for text in (name, f"{name}x"):
            try:
                return [self.gpu(text).name]
            except UnknownNameError as error:
                known = set(self.names("gpus"))
                named = [word.strip(",;()") for word in str(error).rpartition("; ")[2].split()]
                found = list(dict.fromkeys(word for word in named if word in known))
                if found and self.refusal("gpus", text):
                    return found
        return []

    def _read_entry(self, kind: str, noun: type[S], stem: str, paths: dict[str, Traversable]) -> S:
        cached = self._entries.get((kind, stem))
        if isinstance(cached, noun):
            return cached
        where = self._where(paths[stem], f"{KINDS[kind][0]}/{stem}.yaml")
        entry = read_as(noun, self._read(paths[stem], where))
        own = getattr(entry, "name", getattr(entry, "gpu", stem))
        if own != stem:
            raise InputError(f"{where}: name {own!r} is not the file's name; want {stem!r}")
        self._entries[kind, stem] = entry
        return entry

    def _read(self, path: Traversable, where: str) -> YamlText:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where}: cannot be read ({error})") from None
        return read_yaml(text, where, trusted=self._is_shipped(path))

    def _where(self, path: Traversable, inside: str) -> str:
        """Return a file as messages name it: the user's own with its folder, a shipped one by its place in the data."""
        return inside if self._is_shipped(path) else str(path)

    def _is_shipped(self, path: Traversable) -> bool:
        """Return whether a file is one of the project's own: plain, and in order."""
        return str(path).startswith(self._own)


def _check_alone(sheet: _Sheet, name: str, node: Node | None, others: Mapping[str, Node | None]) -> None:
    """Refuse a node that stands in a sheet under two names: its offers could not be told apart."""
    for other, same in others.items():
        if node is not None and same is not None and same.name == node.name:
            raise InputError(f"{sheet.place(name)}: is {node.name}, as {other} is; put all its prices under one name")


def _other_names(entry: Spec) -> list[str]:
    """Return what else an entry is called; a model by its name on the hub, with and without who published it."""
    names = list(getattr(entry, "aliases", ()))
    if not isinstance(entry, Model):
        return names
    names.append(entry.hf_id)
    return [*names, *(name.rpartition("/")[2] for name in names if "/" in name)]


def _yaml_in(base: Traversable, folder: str) -> list[tuple[str, Traversable]]:
    place = base
    for part in folder.split("/"):
        place = place / part
    if not place.is_dir():
        return []
    return sorted(
        ((p.name.removesuffix(".yaml"), p) for p in place.iterdir() if p.name.endswith(".yaml")),
        key=lambda pair: pair[0],
    )
