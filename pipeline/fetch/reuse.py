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
            settings: of images and consent; rounds of others tell nothing.
        """
        keys = [entry["key"] for entry in self._entries]
        before = self._entries[: keys.index(key)] if key in keys else self._entries
        wanted = json.loads(canonical_json(settings))
        return [
            self._unit(number, entry)
            for number, entry in enumerate(before)
            if entry["settings"] == wanted and entry["files"]
        ]

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

    def _unit(self, number: int, entry: Mapping[str, Any]) -> Unit:
        listed = [FileRecord(**file) for file in entry["files"]]
        return Unit(
            id=f"known-{number:05d}",
            step="known",
            sources=tuple(
                Source(
                    role=ROLES[file.role],
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


def round_key(folder: str, units: Sequence[Unit]) -> str:
    """Return what names a round and its pairs, whatever it takes over."""
    listed = sorted((unit.id, unit.step, inputs_of(unit)) for unit in units)
    return canonical_json([folder, listed]).decode()
