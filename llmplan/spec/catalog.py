"""The catalog folders: what llmplan knows of devices, nodes, prices, models and engines, read by name when asked.

Folders given by the user (`--catalog DIR`, `LLMPLAN_CATALOG`) have the same shape and are searched first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from llmplan.errors import InputError, UnknownNameError, near
from llmplan.spec.base import Spec, folded
from llmplan.spec.engine import Engine
from llmplan.spec.fits import Bands, Fits
from llmplan.spec.hardware import Gpu, Link, Node, Offer, PriceSheet
from llmplan.spec.messages import read_as
from llmplan.spec.model import Model
from llmplan.spec.technique import Technique
from llmplan.spec.terms import Owning
from llmplan.spec.workload import OfferFilter
from llmplan.spec.yaml_files import YamlText, read_yaml

S = TypeVar("S", bound=Spec)

KINDS: dict[str, tuple[str, type[Spec]]] = {
    "gpus": ("hardware/gpus", Gpu),
    "links": ("hardware/links", Link),
    "nodes": ("hardware/nodes", Node),
    "engines": ("engines", Engine),
    "models": ("models", Model),
    "fits": ("hardware/fits", Fits),
    "techniques": ("techniques", Technique),
}
"""Folder and noun of each kind of entry."""


@cache
def root() -> Traversable:
    """Return the folder that holds the data: inside the wheel (or zip), or the checkout."""
    shipped = files("llmplan") / "_data"
    return shipped if shipped.is_dir() else Path(__file__).resolve().parents[2]


class Catalog:
    """All entries, by kind and name."""

    def __init__(self, folders: Sequence[Traversable] = ()) -> None:
        self._folders = (*folders, root())
        self._entries: dict[tuple[str, str], Spec] = {}

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
        return sorted({name for name, _ in self._files(kind)})

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

    def fits(self, gpu: str) -> Fits | None:
        """Return the fits of one GPU, or None when nobody measured it."""
        return self._get("fits", Fits, gpu) if gpu in self.names("fits") else None

    @cached_property
    def bands(self) -> Bands:
        """The error bands of the shipped validation."""
        return read_as(Bands, _read(root() / "hardware" / "bands.yaml", "hardware/bands.yaml"))

    @cached_property
    def owning(self) -> Owning:
        """What owning takes where the owner does not say."""
        return read_as(Owning, _read(root() / "hardware" / "owning.yaml", "hardware/owning.yaml"))

    @cached_property
    def prices(self) -> tuple[PriceSheet, ...]:
        """All price sheets; one of the user replaces the shipped one of the same provider."""
        sheets: dict[str, PriceSheet] = {}
        for folder in self._folders:
            for name, path in _yaml_in(folder, "hardware/prices"):
                sheet = read_as(PriceSheet, _read(path, f"hardware/prices/{name}.yaml"))
                sheets.setdefault(sheet.provider, sheet)
        return tuple(sheets[name] for name in sorted(sheets))

    def offers(self, wanted: OfferFilter) -> list[Offer]:
        """Return every offer that `wanted` allows, in a fixed order.

        Raises
        ------
        UnknownNameError
            The filter names a GPU, provider, region or node that no price sheet has.
        """
        gpus = {self.gpu(_without_count(name)).name for name in wanted.gpus}
        sheets = [(sheet, sheet.rows()) for sheet in self.prices]
        self._check_filter(wanted, [(s.provider, *row[:2]) for s, rows in sheets for row in rows])
        nodes = {self.node(name).name for name in wanted.nodes}
        for name in wanted.gpus:
            if _without_count(name) != name:
                raise InputError(f"offers.gpus: {name!r} has a number; cap it with limits.gpus or fix deployment.gpu")
        kept = []
        for sheet, rows in sheets:
            if wanted.providers and sheet.provider not in wanted.providers:
                continue
            for name, region, market, usd in rows:
                if market not in wanted.markets or (wanted.regions and region not in wanted.regions):
                    continue
                node = self.node(name)
                if (gpus and node.gpu not in gpus) or (nodes and node.name not in nodes):
                    continue
                if self.gpu(node.gpu).status == "preliminary" and node.gpu not in gpus:
                    continue
                terms = sheet.terms(name, region, market)
                offer = Offer.model_construct(
                    name=f"{sheet.provider}/{node.name}/{region}/{market}",
                    node=node,
                    region=region,
                    market=market,
                    usd_per_hour=usd,
                    snapshot=sheet.snapshot,
                    available=terms.available,
                    highest_usd_per_hour=getattr(terms, "highest_usd_per_hour", None),
                )
                kept.append(offer)
        return sorted(kept, key=lambda o: (o.usd_per_hour, o.name))

    def _check_filter(self, wanted: OfferFilter, rows: list[tuple[str, str, str]]) -> None:
        for field, index in (("providers", 0), ("regions", 2)):
            known = {row[index] for row in rows}
            for name in getattr(wanted, field):
                if name not in known:
                    advice = near(name, known) or "llmplan catalog list offers shows them"
                    raise UnknownNameError(f"offers.{field}: no {field[:-1]} {name!r} has a price; {advice}")

    def hash(self, kinds: Sequence[str]) -> str:
        """Return a short hash over all files of some kinds: two catalogs with the same hash give the same answers."""
        digest = hashlib.sha256()
        for kind in kinds:
            folder = KINDS[kind][0] if kind in KINDS else kind
            for name, path in sorted(self._files(kind, folder), key=lambda pair: pair[0]):
                digest.update(name.encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def _files(self, kind: str, folder: str | None = None) -> Iterator[tuple[str, Traversable]]:
        seen = set()
        for base in self._folders:
            for name, path in _yaml_in(base, folder or KINDS[kind][0]):
                if name not in seen:
                    seen.add(name)
                    yield name, path

    def _get(self, kind: str, noun: type[S], name: str) -> S:
        found = self._entries.get((kind, name)) or self._find(kind, noun, name)
        self._entries[kind, name] = found
        if not isinstance(found, noun):
            raise TypeError(f"{kind} {name} is a {type(found).__name__}")
        return found

    def _find(self, kind: str, noun: type[S], name: str) -> S:
        paths = dict(self._files(kind))
        wanted = folded(name)
        exact = {folded(stem): stem for stem in paths}
        if wanted in exact:
            return self._read_entry(kind, noun, exact[wanted], paths)
        known: dict[str, str] = {}
        for stem in paths:
            entry = self._read_entry(kind, noun, stem, paths)
            for alias in (*getattr(entry, "aliases", ()), getattr(entry, "hf_id", stem)):
                if folded(alias) == wanted:
                    return entry
                known[alias] = stem
        advice = near(name, {*paths, *known})
        singular = kind[:-1] if kind != "fits" else "fit"
        shown = {"gpu": "GPU"}.get(singular, singular)
        command = "llmplan models list" if kind == "models" else f"llmplan catalog list {kind}"
        said = f"no {shown} {name!r} in the catalog"
        raise UnknownNameError(f"{said}; {advice} ({command})" if advice else f"{said}; {command} lists them")

    def _read_entry(self, kind: str, noun: type[S], stem: str, paths: dict[str, Traversable]) -> S:
        cached = self._entries.get((kind, stem))
        if isinstance(cached, noun):
            return cached
        where = f"{KINDS[kind][0]}/{stem}.yaml"
        entry = read_as(noun, _read(paths[stem], where))
        own = getattr(entry, "name", getattr(entry, "gpu", stem))
        if own != stem:
            raise InputError(f"{where}: name {own!r} is not the file's name; want {stem!r}")
        self._entries[kind, stem] = entry
        return entry


def _without_count(name: str) -> str:
    """Return the GPU of a shorthand such as 8xH100 or H100:8."""
    head, sign, tail = name.partition("x")
    if sign and head.isdigit() and tail:
        return tail
    head, sign, tail = name.rpartition(":")
    return head if sign and tail.isdigit() else name


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


def _read(path: Traversable, where: str) -> YamlText:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read ({error})") from None
    return read_yaml(text, where, trusted=_is_shipped(path))


def _is_shipped(path: Traversable) -> bool:
    """Return whether a file lies in one of the project's own data folders."""
    own = [f"{root() / name}/" for name in ("hardware", "models", "engines", "techniques")]
    return any(str(path).startswith(folder) for folder in own)
