"""Datasets to damage: files are rewritten and, if wanted, all records made to agree again."""

import hashlib
import json
import pathlib
import tarfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.format import Manifest, load
from manifests.format.records import Level
from manifests.format.tar import TarWriter
from manifests.inspection.verify import verify

Sample = dict[str, bytes]
TAR, PARQUET = "shards/00000001.tar", "shards/00000001.parquet"


class Copy:
    """A dataset to damage."""

    def __init__(self, manifest: Manifest) -> None:
        self.root = pathlib.Path(manifest.root)
        self.digest = manifest.digest

    def codes(self, level: Level = "sha256", **options: Any) -> dict[str, int]:
        return dict(verify(str(self.root), level, **options).by_code)

    def flip(self, name: str, place: int) -> None:
        data = bytearray((self.root / name).read_bytes())
        data[place] ^= 1
        (self.root / name).write_bytes(data)

    def samples(self) -> list[Sample]:
        """The members of the damaged shard, by extension."""
        with tarfile.open(self.root / TAR) as opened:
            found: dict[str, Sample] = {}
            for member in opened.getmembers():
                key, _, ext = member.name.partition(".")
                extracted = opened.extractfile(member)
                assert extracted is not None
                found.setdefault(key, {})[ext] = extracted.read()
        return [{"key": key.encode(), **members} for key, members in found.items()]

    def rewrite(self, samples: list[Sample] | None = None, rows: pa.Table | None = None) -> None:
        """Write other samples or rows, then make sizes, digests and records agree again."""
        if samples is not None:
            with (self.root / TAR).open("wb") as file:
                writer = TarWriter(file)
                for sample in samples:
                    for ext in ("jpg", "txt", "json"):
                        writer.add(f"{sample['key'].decode()}.{ext}", sample[ext])
                writer.close()
        if rows is not None:
            pq.write_table(rows, self.root / PARQUET)
        self.fix_records()

    def rows(self) -> pa.Table:
        return pq.read_table(self.root / PARQUET)

    def fix_records(self, **shard: Any) -> None:
        def change(value: dict[str, Any]) -> None:
            value["shards"][1].update(shard)
            for listed in value["shards"]:
                for kind in ("tar", "parquet"):
                    data = (self.root / listed[kind]["path"]).read_bytes()
                    listed[kind]["bytes"] = len(data)
                    listed[kind]["sha256"] = hashlib.sha256(data).hexdigest()
            value["totals"] = {
                "shards": len(value["shards"]),
                "samples": sum(listed["samples"] for listed in value["shards"]),
                "tar_bytes": sum(listed["tar"]["bytes"] for listed in value["shards"]),
                "parquet_bytes": sum(listed["parquet"]["bytes"] for listed in value["shards"]),
            }
            lines = "".join(
                f"{listed[kind]['sha256']}  {listed[kind]['path']}\n"
                for listed in value["shards"]
                for kind in ("tar", "parquet")
            )
            value["digest"] = f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

        self.edit(change)
        for record in load(str(self.root)).shards:
            path = self.root / f"shards/{record.id:08d}.json"
            path.write_bytes(record.file_bytes(load(str(self.root)).spec))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.root / "manifest.json"
        value = json.loads(path.read_bytes())
        change(value)
        path.write_text(json.dumps(value))


def change_row(rows: pa.Table, row: int, **values: Any) -> pa.Table:
    changed = rows.to_pylist()
    changed[row].update(values)
    return pa.Table.from_pylist(changed, schema=rows.schema)
