"""Which rounds below a ROOT have been committed, so that no URL is asked twice.

A list below ROOT names the files of each round. What a round may take over is fixed when it is
first run: all that is listed before itself. So the same command finds the same units again.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.engine import files
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.units import FileRecord, Source, Unit, canonical_json, inputs_of

NAME = "stages/fetched.json"
ROLES = {"part": "known-part", "lost": "known-lost"}
KEPT_ROLES = {"part": "kept-part", "lost": "kept-lost"}
"""Of rounds under other settings of images: what they were given by hosts still holds."""
_OF_ANSWERS = ("visits", "consent", "grants")
"""The settings that decide what hosts give."""


class Fetched:
    """The list of one ROOT."""

    def __init__(self, root: str) -> None:
        """Read it, if it is there."""
        self._root = root
        self._path = files.join(root, NAME)
        self._entries: list[dict[str, Any]] = []
        if files.size_bytes(self._path) is not None:
            self._entries = json.loads(files.read_bytes(self._path))

    def known_units(self, key: str, settings: Mapping[str, Any]) -> list[Unit]:
        """Return units that read what may be taken over.

        Args:
            key: names the round and its pairs.
            settings: of images, visits and consent; of rounds that differ in images only there
                are what hosts gave, no more.
        """
        keys = [entry["key"] for entry in self._entries]
        before = self._entries[: keys.index(key)] if key in keys else self._entries
        found = ((number, entry, _roles(entry, settings)) for number, entry in enumerate(before))
        return [
            self._unit(number, entry, roles)
            for number, entry, roles in found
            if roles and entry["files"]
        ]

    def other_images(self, settings: Mapping[str, Any]) -> int:
        """Return how many pairs have images that were prepared under other settings of images."""
        return sum(
            file["rows"]
            for entry in self._entries
            if _roles(entry, settings) is KEPT_ROLES
            for file in entry["files"]
            if file["role"] == "part"
        )

    def add(self, key: str, settings: Mapping[str, Any], record: StageRecord) -> None:
        """List a round that is committed, once."""
        if any(entry["key"] == key for entry in self._entries):
            return
        listed = [file for role in ROLES for file in record.files(role) if file.rows]
        entry = {
            "key": key,
            "settings": settings,
            "files": [dataclasses.asdict(file) for file in listed],
        }
        self._entries.append(json.loads(canonical_json(entry)))
        files.write_atomic(self._path, canonical_json(self._entries))

    def _unit(self, number: int, entry: Mapping[str, Any], roles: Mapping[str, str]) -> Unit:
        listed = [FileRecord(**file) for file in entry["files"]]
        return Unit(
            id=f"known-{number:05d}",
            step="known",
            sources=tuple(
                Source(
                    role=roles[file.role],
                    path=files.join(self._root, file.name),
                    name=file.name,
                    bytes=file.bytes,
                    sha256=file.sha256,
                    rows=file.rows,
                )
                for file in listed
                if files.size_bytes(files.join(self._root, file.name)) == file.bytes
            ),
        )


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
