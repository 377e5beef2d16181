"""Which rounds below a ROOT have been committed, so that no URL is asked twice.

A list below ROOT names the files of each round. What a round may take over is fixed when it is
first run: all that is listed before itself, and the rounds of other roots that were named then. So
the same command finds the same units again.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from manifests.base.errors import ConfigError
from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import Source, Unit, canonical_json, inputs_of

NAME = "stages/fetched.json"
ROLES = {"part": "known-part", "lost": "known-lost"}
KEPT_ROLES = {"part": "kept-part", "lost": "kept-lost"}
"""Of rounds under other settings of images: what they were given by hosts still holds."""
COPIED_ROLES = {"part": "copied-part", "lost": "known-lost"}
"""Of rounds of other roots: a dataset refers to no blob outside its own."""
_OF_ANSWERS = ("visits", "consent", "grants")
"""The settings that decide what hosts give."""


class Fetched:
    """The list of one ROOT."""

    def __init__(self, root: str) -> None:
        """Read it, if it is there."""
        self._root = root
        self._path = files.join(root, NAME)
        self.entries: list[dict[str, Any]] = []
        if files.size_bytes(self._path) is not None:
            self.entries = json.loads(files.read_bytes(self._path))

    def known_units(
        self, key: str, settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()
    ) -> list[Unit]:
        """Return units that read what may be taken over.

        Args:
            key: names the round and its pairs.
            settings: of images, visits and consent; of rounds that differ in images only there
                are what hosts gave, no more.
            others: rounds of other roots, as `others` finds them.
        """
        keys = [entry["key"] for entry in self.entries]
        before = self.entries[: keys.index(key)] if key in keys else self.entries
        made = [
            self._unit(number, entry, roles)
            for number, entry in enumerate(before)
            if (roles := _roles(entry, settings)) and entry["files"]
        ]
        for number, entry in enumerate(others):
            if roles := _roles(entry, settings):
                copied = COPIED_ROLES if roles is ROLES else roles
                made.append(_unit(f"other-{number:05d}", entry["root"], entry["files"], copied))
        return made

    def others(self, key: str, folders: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rounds of other roots that one of this root may take over.

        Args:
            key: names the round and its pairs; once it is listed, what it was given counts.
            folders: stage directories.

        Raises:
            ConfigError: if one holds no committed round.
        """
        listed = next((entry for entry in self.entries if entry["key"] == key), None)
        if listed is not None:
            return list(listed.get("others", ()))
        return [found for folder in folders for found in _rounds_in(folder, self._root)]

    def other_images(self, settings: Mapping[str, Any]) -> int:
        """Return how many pairs have images that were prepared under other settings of images."""
        return sum(
            file["rows"]
            for entry in self.entries
            if _roles(entry, settings) is KEPT_ROLES
            for file in entry["files"]
            if file["role"] == "part"
        )

    def add(
        self,
        key: str,
        settings: Mapping[str, Any],
        record: StageRecord,
        others: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """List a round that is committed, once, and the rounds of other roots it was given."""
        if any(entry["key"] == key for entry in self.entries):
            return
        listed = [file for role in ROLES for file in record.files(role) if file.rows]
        entry = {
            "key": key,
            "settings": settings,
            "files": [dataclasses.asdict(file) for file in listed],
            "others": others,
        }
        self.entries.append(json.loads(canonical_json(entry)))
        files.write_atomic(self._path, canonical_json(self.entries))

    def _unit(self, number: int, entry: Mapping[str, Any], roles: Mapping[str, str]) -> Unit:
        there = [file for file in entry["files"] if _is_there(self._root, file)]
        return _unit(f"known-{number:05d}", self._root, there, roles)


def _rounds_in(folder: str, own_root: str) -> list[dict[str, Any]]:
    """Return what the list of another root says of a stage directory; its own rounds count anyway.

    A stage directory holds several rounds if inputs were added to it.
    """
    above, _, name = folder.rstrip("/").rpartition("/")
    root = above.removesuffix("/stages")
    found = [
        {
            "root": root,
            "settings": entry["settings"],
            "files": [file for file in entry["files"] if _is_there(root, file)],
        }
        for entry in Fetched(root).entries
        if json.loads(entry["key"])[0] == f"stages/{name}"
    ]
    if not found:
        raise ConfigError(
            f"fetch.reuse: {folder}: no committed round of asking hosts: name directories "
            "ROOT/stages/fetch-r1-..., or remove it"
        )
    return found if root != own_root else []


def _is_there(root: str, file: Mapping[str, Any]) -> bool:
    return files.size_bytes(files.join(root, file["name"])) == file["bytes"]


def _unit(
    name: str, root: str, listed: Sequence[Mapping[str, Any]], roles: Mapping[str, str]
) -> Unit:
    """Return the unit that reads files of a round, each in its role of now."""
    sources = [
        Source(**{**file, "role": roles[file["role"]], "path": files.join(root, file["name"])})
        for file in listed
    ]
    return Unit(id=name, step="known", sources=tuple(sources))


def _roles(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the roles of a round's files under settings of now; None if they tell nothing."""
    wanted = json.loads(canonical_json(settings))
    before = entry["settings"]
    if before == wanted:
        return ROLES
    return KEPT_ROLES if all(before.get(name) == wanted[name] for name in _OF_ANSWERS) else None


def round_key(folder: str, units: Sequence[Unit]) -> str:
    """Return what names a round and its pairs, whatever it takes over."""
    listed = sorted((unit.id, unit.step, inputs_of(unit)) for unit in units)
    return canonical_json([folder, listed]).decode()
