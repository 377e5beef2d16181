"""Made-up fetched rows, stage dedup on them in a plain loop, and its definition by brute force."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.hashes.perceptual import GRAPHIC, GRAY
from filters.hashes.rank import caption_score, rank_keys
from manifests.format.ids import pair_id
from pipeline.engine.context import Engine
from pipeline.engine.parts import Sink
from pipeline.engine.stage_dir import StageRecord
from pipeline.engine.steps import MapStep
from pipeline.engine.units import Unit
from pipeline.records import FETCHED
from pipeline.stages.dedup import DedupSettings, run

Row = dict[str, Any]
Verdicts = dict[bytes, tuple[str, str]]


def make_row(number: int, seed: int | None = None, **columns: Any) -> Row:
    """A fetched pair; the image is named by `seed`, by default by the number."""
    random = np.random.default_rng(number if seed is None else seed)
    bits, chroma = random.bytes(64), random.bytes(32)
    text = columns.get("text", f"a photo of dog {number}")
    url = f"http://example.com/{number}.jpg"
    filled = {
        "pair_id": pair_id(url, text),
        "url": url,
        "url_source": "src",
        "page_url": f"http://example.com/{number}",
        "position": 0,
        "flags": [],
        "optout": [],
        "source_file": "a.warc.gz",
        "source_offset": number,
        "text": text,
        "text_source": "alt",
        "lang": "en",
        "matched_query_ids": [1],
        "seen": 1,
        "image_source": "archive",
        "attempts": 1,
        "redirects": 0,
        "original_format": "jpeg",
        "original_bytes": 9,
        "original_sha256": hashlib.sha256(bits).digest(),
        "original_width": 640,
        "original_height": 480,
        "animated": False,
        "width": 320,
        "height": 240,
        "sha256": hashlib.sha256(bits).digest(),
        "reencoded": True,
        "blob": "b",
        "blob_offset": 0,
        "blob_bytes": 9,
        "image_flags": [],
        "dedup_hash": bits,
        "dedup_chroma": chroma,
        "dedup_quality": 90,
        "dedup_flags": 0,
        "phash": "0" * 16,
        "hash_version": "ow1/p12",
    }
    return {**filled, **columns}


def flipped(data: bytes, bits: int) -> bytes:
    """Flip the first bits: few bands of the dHash change."""
    mask = ((1 << bits) - 1) << (8 * len(data) - bits)
    return (int.from_bytes(data) ^ mask).to_bytes(len(data))


@dataclasses.dataclass(frozen=True)
class WriteParts:
    """The kernel of a step that stands for fetch."""

    parts: Mapping[str, Sequence[Row]]
    schema: pa.Schema

    def run(self, unit: Unit, sink: Sink) -> None:
        rows = sorted(self.parts[unit.id], key=lambda row: row["pair_id"] or b"")
        sink.rows_in(len(rows))
        sink.write(pa.RecordBatch.from_pylist(rows, schema=self.schema))


@dataclasses.dataclass
class Outcome:
    """What the stage made of some rows."""

    record: StageRecord
    steps: dict[str, StageRecord]

    @property
    def kept(self) -> dict[bytes, Row]:
        rows = [
            row for path in self.record.paths("part") for row in pq.read_table(path).to_pylist()
        ]
        return {row["pair_id"]: row for row in rows}

    @property
    def drops(self) -> Verdicts:
        rows = [
            row for path in self.record.paths("drops") for row in pq.read_table(path).to_pylist()
        ]
        return {row["pair_id"]: (row["reason"], row["value"]) for row in rows}

    def noted(self, step: str, name: str) -> int:
        """Sum a note over the units of a step and of its further passes."""
        records = (record for key, record in self.steps.items() if key.startswith(step))
        return sum(unit.notes[name] for record in records for unit in record.units)


@dataclasses.dataclass
class Dedup:
    """Call it with lists of rows, one a part, and settings; each call has its own ROOT."""

    engine: Any
    calls: int = 0

    def __call__(
        self,
        *parts: Sequence[Row],
        bucket_bytes: int = 1 << 26,
        schema: pa.Schema = FETCHED,
        **settings: Any,
    ) -> Outcome:
        self.calls += 1
        # Made-up rows have no images to show.
        settings = {"audit_sample": 0, "audit_pairs": 0, **settings}
        root = f"{self.engine.root}-{self.calls}"
        engine = dataclasses.replace(self.engine, root=root, bucket_bytes=bucket_bytes, records=[])
        record = run(engine, DedupSettings(**settings), fetched(engine, parts, schema))
        return Outcome(record, {step.step: step for step in engine.records})


def fetched(engine: Engine, parts: Sequence[Sequence[Row]], schema: pa.Schema) -> StageRecord:
    named = {f"{number:05d}-aaaaaaaa": rows for number, rows in enumerate(parts)}
    step = MapStep(
        name="fetch",
        stage="fetch",
        version=1,
        parameters={},
        outputs={"part": schema},
        kernel=WriteParts(named, schema),
    )
    return engine.run(step, [Unit(id=name, sources=()) for name in named])


def made_up_rows(rows: int, seed: int) -> list[Row]:
    """Images in clusters, with exact and near copies, borders, graphics and few texts."""
    random = np.random.default_rng(seed)
    centres = [random.bytes(64) for _ in range(rows // 8)]
    chroma = [random.bytes(32) for _ in range(rows // 8)]
    made = []
    for number in range(rows):
        cluster = int(random.integers(len(centres)))
        bits = flipped(centres[cluster], int(random.choice([0, 3, 8, 30, 60])))
        trim = flipped(centres[-cluster], 5) + chroma[-cluster] + b"\0"
        made.append(
            make_row(
                number,
                text=f"{'a dog in the snow' if number % 5 else 'dog'} {random.integers(4)}",
                dedup_hash=bits,
                dedup_chroma=chroma[cluster],
                dedup_flags=int(random.choice([0, 0, 0, GRAPHIC])),
                dedup_trim=trim if random.random() < 0.1 else None,
                original_sha256=hashlib.sha256(bits + bytes(int(random.integers(2)))).digest(),
                original_width=int(random.choice([200, 400, 800])),
            )
        )
    return made


def brute_force(rows: Sequence[Row], settings: DedupSettings) -> dict[bytes, bytes]:
    """Compare all pairs of probes; return the kept pair of each dropped one."""
    sides = np.array([min(row["original_width"], row["original_height"]) for row in rows], np.int32)
    ids = np.frombuffer(b"".join(row["pair_id"] for row in rows), np.uint8).reshape(-1, 16)
    scores = np.array([caption_score(row["text"]) for row in rows], np.uint8)
    order = sorted(range(len(rows)), key=lambda row: rank_keys(ids, sides, scores)[row].tobytes())
    rows = [rows[number] for number in order]
    dup_of: dict[bytes, bytes] = {}
    for number, row in enumerate(rows):
        for other in rows[:number]:
            if other["pair_id"] not in dup_of and are_near(row, other, settings):
                dup_of[row["pair_id"]] = other["pair_id"]
                break
    return dup_of


def probes_of(row: Row) -> list[tuple[bytes, bytes, int]]:
    probes = [(row["dedup_hash"], row["dedup_chroma"], row["dedup_flags"])]
    if trim := row["dedup_trim"]:
        probes.append((trim[:64], trim[64:96], trim[96]))
    return probes


def are_near(one: Row, other: Row, settings: DedupSettings) -> bool:
    for bits, chroma, flags in probes_of(one):
        for bits_too, chroma_too, flags_too in probes_of(other):
            graphic = flags & flags_too & GRAPHIC
            rule = settings.nearness
            limit = rule.threshold_graphic if graphic else rule.threshold
            levels = rule.chroma_max_graphic if graphic else rule.chroma_max
            apart = (int.from_bytes(bits) ^ int.from_bytes(bits_too)).bit_count()
            colours = sum(abs(a - b) for a, b in zip(chroma, chroma_too, strict=True))
            gray = rule.match_gray and not graphic and (flags ^ flags_too) & GRAY
            if apart <= limit and (gray or colours <= 32 * levels):
                return True
    return False


def kept_id(verdict: tuple[str, str]) -> bytes:
    return bytes.fromhex(verdict[1].partition(":")[0])
