"""Several files written into a folder together, all of them or none."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from llmplan.errors import InputError, LlmplanError


def changed_files(folder: str, texts: Mapping[str, str], overwrite: bool) -> list[str]:
    """Return the files of a folder that differ from `texts`, before any is written.

    Raises
    ------
    InputError
        The folder is none, or a file that differs is there and is not to be replaced.
    """
    check_folder(folder)
    base = Path(folder)
    changed = []
    for name, text in texts.items():
        path = base / name
        if not path.exists() or not _holds(path, text):
            if path.exists() and not overwrite:
                raise InputError(f"--output-dir {folder}: {path} exists; give another folder or --overwrite")
            changed.append(name)
    return changed


def check_folder(folder: str) -> None:
    """Refuse a folder that cannot be one, before the work whose result it shall hold.

    Raises
    ------
    InputError
        It has no name, is a file, or its parent is missing.
    """
    base = Path(folder)
    if not folder.strip():
        raise InputError("--output-dir '': names no folder; want one, or . for this one")
    if base.exists() and not base.is_dir():
        raise InputError(f"--output-dir {folder}: is a file; want a folder")
    if not base.parent.is_dir():
        raise InputError(f"--output-dir {folder}: no folder {str(base.parent)!r}; make it first")


def _holds(path: Path, text: str) -> bool:
    from llmplan.spec.readers import read_text

    try:
        return read_text(str(path))[0] == text
    except LlmplanError:
        return False


def written_together(folder: str, texts: Mapping[str, str]) -> None:
    """Write several files into a folder, all of them or none.

    Raises
    ------
    InputError
        A file cannot be written; what was there stays.
    """
    base = Path(folder)
    if not texts:
        return
    try:
        base.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base, prefix=".llmplan-") as staging:
            for number, (name, text) in enumerate(texts.items()):
                (base / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(staging) / str(number)).write_text(text, encoding="utf-8", newline="\n")
            for number, name in enumerate(texts):
                (Path(staging) / str(number)).replace(base / name)
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written ({error.strerror or error})") from None
