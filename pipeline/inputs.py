"""The raw input of a run: paths to units, named so that a dataset can be made again elsewhere."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import unicodedata
from collections.abc import Sequence

from manifests.base.console import bytes_text, say
from manifests.base.errors import RefusedError
from pipeline.engine import files
from pipeline.engine.units import Source, Unit, canonical_json
from pipeline.readers.kinds import InputSettings

SHOWN = 10
"""Missing inputs that a message names."""
THREADS = 4
LOUD_BYTES = 1 << 28
"""Hashing more than this is announced."""
ARCHIVES = ("warc", "wat")
HEAD_BYTES = 1 << 16
"""Looked at to tell an archive from another file; damage at its very start may be so long."""

Digests = dict[str, list[int | str]]
"""By path: size in bytes, time of change in ns, sha256."""


def input_units(
    settings: InputSettings, folder: str, root: str, *, hashing: bool = True
) -> list[Unit]:
    """Return one unit for each input file.

    Args:
        settings: the table `[input]`.
        folder: the configuration's folder, from which relative paths count.
        root: ROOT, where digests of unchanged files are remembered.
        hashing: whether files that are new or changed are read for their sha256; otherwise theirs
            is empty, and nothing is written.

    Raises:
        RefusedError: if there is no input, one is missing, outside `input.base`, or named twice.
    """
    base = input_base(settings, folder)
    found: dict[str, str] = {}
    for path in expand_paths(settings.paths, folder):
        name = logical_name(path, base)
        if found.setdefault(name, path) != path:
            raise RefusedError(f"input.paths: {found[name]} and {path} have one name, {name!r}")
    sizes = _sizes(found, settings)
    if hashing and settings.kind in ARCHIVES:
        _check_archives([found[name] for name in sizes])
    digests = file_digests([found[name] for name in sizes], root, hashing=hashing)
    return [
        Unit(
            id=hashlib.sha256(name.encode()).hexdigest()[:16],
            sources=(
                Source(
                    role="input",
                    path=found[name],
                    name=name,
                    bytes=size,
                    sha256=digests.get(found[name], ""),
                ),
            ),
        )
        for name, size in sorted(sizes.items())
    ]


def input_base(settings: InputSettings, folder: str) -> str:
    """Return the folder or URI that logical names are relative to."""
    return absolute(settings.base, folder) if settings.base else folder


def expand_paths(paths: Sequence[str], folder: str) -> list[str]:
    """Return absolute paths and URIs, with each `@FILE` replaced by the paths it lists.

    Raises:
        RefusedError: if a list cannot be read, or there is no path at all.
    """
    expanded: list[str] = []
    for entry in paths:
        if not entry.startswith("@"):
            expanded.append(absolute(entry, folder))
            continue
        path = absolute(entry[1:], folder)
        try:
            lines = files.read_bytes(path).decode("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(f"input.paths: {entry}: cannot be read: {error}") from None
        within = path.rpartition("/")[0]
        expanded.extend(absolute(line.strip(), within) for line in lines if line.strip())
    if not expanded:
        raise RefusedError(f"input.paths: {', '.join(paths)}: no file is listed: name at least one")
    return expanded


def logical_name(path: str, base: str) -> str:
    """Return a path relative to the base, with `/`; a URI outside it is its own name.

    Raises:
        RefusedError: if a local path is outside, or a name has control characters.
    """
    head = base.rstrip("/") + "/"
    if not files.is_local(path) and not path.startswith(head):
        head = ""
    if not path.startswith(head):
        raise RefusedError(
            f"input.base: {path} is outside {base}: set it to a folder that holds all inputs"
        )
    name = path[len(head) :]
    if any(unicodedata.category(char) == "Cc" for char in name):
        raise RefusedError(f"input.paths: {name!r}: control characters: rename the file")
    return name


def absolute(path: str, folder: str) -> str:
    """Return a path of the configuration as an absolute one; a URI stays as it is."""
    if not files.is_local(path):
        return path
    if not files.is_local(folder):
        return files.join(folder, path)
    return os.path.normpath(pathlib.Path(folder, pathlib.Path(path).expanduser()))


def _sizes(found: dict[str, str], settings: InputSettings) -> dict[str, int]:
    """Return the sizes of the files that are there; with `missing = "skip"` others are left out."""
    sizes: dict[str, int] = {}
    missing: list[str] = []
    for name, path in found.items():
        size = files.size_bytes(path)
        readable = not files.is_local(path) or (
            pathlib.Path(path).is_file() and os.access(path, os.R_OK)
        )
        if size is None or not readable:
            missing.append(path)
        else:
            sizes[name] = size
    shown = ", ".join(missing[:SHOWN])
    if missing and settings.missing == "skip":
        say(f"warning: {len(missing)} of {len(found)} inputs are missing and left out: {shown}")
    elif missing:
        way_out = 'check them, or set input.missing = "skip"'
        if "*" in shown:
            way_out = "patterns are not expanded: list the files in one, and name that as @FILE"
        raise RefusedError(
            f"input.paths: {len(missing)} of {len(found)} files are missing or unreadable: "
            f"{shown}: {way_out}"
        )
    if not sizes:
        raise RefusedError(
            f"input.paths: all {len(found)} files are missing: there is nothing to do"
        )
    return sizes


def _check_archives(paths: Sequence[str]) -> None:
    """Refuse files that are no archives at all; a damaged archive is read as far as it goes.

    Raises:
        RefusedError: naming the first ones and what they are.
    """
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        faults = [
            f"{path}: {fault}"
            for path, fault in zip(paths, pool.map(_archive_fault, paths), strict=True)
            if fault
        ]
    if faults:
        raise RefusedError(
            f"input.paths: {len(faults)} of {len(paths)} files are not WARC archives: "
            f"{', '.join(faults[:SHOWN])}: take them out of the list"
        )


def _archive_fault(path: str) -> str | None:
    """Return what a file is, if its first bytes show that it is no archive that is read."""
    with files.open_read(path) as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "is empty"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "is compressed with zstd, which is not read yet"
    if head.startswith(b"filedesc:"):
        return "is an ARC file, which is not read"
    if b"\x1f\x8b\x08" in head or b"WARC/" in head:
        return None
    return "begins neither with gzip nor with WARC"


def file_digests(paths: Sequence[str], root: str, *, hashing: bool = True) -> dict[str, str]:
    """Return the sha256 of each file by path; files that did not change since are not read again.

    Args:
        paths: files that are there.
        root: ROOT, where what was found is remembered.
        hashing: whether new and changed files are read; otherwise they are left out.
    """
    store = files.join(root, "runs", "inputs.json")
    known: Digests = {}
    if files.size_bytes(store) is not None:
        try:
            known = json.loads(files.read_bytes(store))
        except ValueError:
            known = {}
    marks: dict[str, list[int | str]] = {
        path: [files.size_bytes(path) or 0, _changed_ns(path)] for path in paths
    }
    todo = [path for path in paths if known.get(path, [])[:2] != marks[path]]
    if todo and hashing:
        total = sum(int(marks[path][0]) for path in todo)
        if total > LOUD_BYTES:
            say(f"inputs: taking the sha256 of {len(todo)} files, {bytes_text(total)}")
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for path, digest in zip(todo, pool.map(files.sha256_of, todo), strict=True):
                known[path] = [*marks[path], digest]
        files.write_atomic(store, canonical_json(known))
    return {path: str(known[path][2]) for path in paths if known.get(path, [])[:2] == marks[path]}


def _changed_ns(path: str) -> int:
    """Return when a file was changed; remote files are told apart by their size alone."""
    return pathlib.Path(path).stat().st_mtime_ns if files.is_local(path) else 0
