"""What earlier rounds have got is not asked for again: of this root, and of others if named."""

import dataclasses
import hashlib
import io
import pathlib

import pyarrow.parquet as pq
import pytest
from PIL import Image

from filters.consent.decision import ConsentSettings
from manifests.base.errors import ConfigError
from pipeline.fetch.reuse import Fetched
from pipeline.stages.fetch import images_asked_again
from tests.pipeline.stages.test_fetch import SITE, Run, made, picture, rows_of, stored
from tests.pipeline.stages.test_fetch_web import WEB, FakeWeb, ledger, shown, web
from tests.pipeline.visit.replay import Reply

__all__ = ["made", "web"]  # the fixtures


def test_known_outcomes_are_not_asked_for_again(made: Run, web: FakeWeb) -> None:
    web.replies[f"{SITE}gone.png"] = Reply(404)
    gone = made.pair("gone.png")
    for number in range(3):
        made.pair(f"{number}.png")
    first = shown(made.fetch(WEB))
    web.asked.clear()
    made.pair("new.png")
    record = made.fetch(WEB)
    assert web.images == [f"{SITE}new.png"]
    assert [row for row in shown(record) if row["url"] != f"{SITE}new.png"] == first
    row = next(row for row in rows_of(record) if row["url"] == f"{SITE}0.png")
    assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
    drops = pq.read_table(made.engine.records[-1].paths("drops")[0]).to_pylist()
    assert [(drop["pair_id"], drop["reason"]) for drop in drops] == [(gone, "http_gone")]
    web.asked.clear()
    made.fetch(dataclasses.replace(WEB, image_size=128))
    assert sorted(web.images) == [f"{SITE}{name}.png" for name in ("0", "1", "2", "new")]


def jpeg(seed: int, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(seed, size))).save(buffer, "JPEG")
    return buffer.getvalue()


def test_bodies_stored_as_they_came_serve_other_image_settings(made: Run, web: FakeWeb) -> None:
    small, large = jpeg(1, 200), jpeg(2, 400)
    web.replies |= {
        f"{SITE}small.jpg": Reply(body=small),
        f"{SITE}large.jpg": Reply(body=large),
        f"{SITE}gone.jpg": Reply(404),
        f"{SITE}tiny.jpg": Reply(body=jpeg(3, 70)),
    }
    ids = {name: made.pair(f"{name}.jpg") for name in ("small", "large", "gone", "tiny")}
    first = dataclasses.replace(WEB, keep_original="unchanged", min_image_size=100)
    made.fetch(first)
    web.asked.clear()
    settings = dataclasses.replace(first, image_size=150, min_image_size=64)
    assert images_asked_again(made.engine.root, settings, ConsentSettings()) == 2
    record = made.fetch(settings)
    # One was re-encoded, and whether another is too small is judged anew.
    assert sorted(web.images) == [f"{SITE}large.jpg", f"{SITE}tiny.jpg"]
    rows = {row["pair_id"]: row for row in rows_of(record)}
    assert set(rows) == {ids["small"], ids["large"], ids["tiny"]}
    row = rows[ids["small"]]
    assert (row["width"], row["reencoded"], row["http_status"]) == (150, True, 200)
    assert row["original_sha256"] == hashlib.sha256(small).digest()
    assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
    made.engine.root += "-anew"
    anew = shown(made.fetch(dataclasses.replace(settings, reuse="never")))
    assert shown(record) == anew


def test_rounds_of_another_root_are_copied_if_they_are_named(made: Run, web: FakeWeb) -> None:
    web.replies |= {f"{SITE}gone.jpg": Reply(404), f"{SITE}small.jpg": Reply(body=jpeg(1, 100))}
    gone = made.pair("gone.jpg")
    for name in ("small.jpg", "large.png"):
        made.pair(name)
    settings = dataclasses.replace(WEB, keep_original="unchanged", image_size=128)
    made.fetch(dataclasses.replace(settings, image_size=90))
    first = shown(made.fetch(settings))
    root = pathlib.Path(made.engine.root)
    listed = [str(path) for path in sorted(root.glob("stages/fetch-r1-*"))]
    assert len(listed) == 2
    web.asked.clear()
    made.engine.root = str(root) + "-b"
    made.engine.records.clear()
    copying = dataclasses.replace(settings, reuse=tuple(listed))
    record = made.fetch(copying)
    assert web.images == []
    assert shown(record) == first
    assert ledger(made)[gone] == ("http_gone", "404")
    for row in rows_of(record):
        assert hashlib.sha256(stored(record, row)).digest() == row["sha256"]
    # What a round was given when it was first run counts, whatever becomes of it.
    (entry,) = Fetched(made.engine.root).entries
    root.rename(root.with_name("elsewhere"))
    others = Fetched(made.engine.root).others(entry["key"], ())
    units = Fetched(made.engine.root).known_units(entry["key"], entry["settings"], others)
    assert [unit.id for unit in units] == ["other-00000", "other-00001"]


def test_other_image_settings_take_only_bodies_from_another_root(made: Run, web: FakeWeb) -> None:
    web.replies[f"{SITE}small.jpg"] = Reply(body=jpeg(1, 100))
    made.pair("small.jpg")
    made.pair("large.png")
    settings = dataclasses.replace(WEB, keep_original="unchanged", image_size=128)
    made.fetch(settings)
    (listed,) = pathlib.Path(made.engine.root).glob("stages/fetch-r1-*")
    web.asked.clear()
    made.engine.root += "-b"
    made.fetch(dataclasses.replace(settings, image_size=80, reuse=(str(listed),)))
    assert web.images == [f"{SITE}large.png"]


def test_a_directory_that_holds_no_round_is_named(made: Run, web: FakeWeb) -> None:
    made.pair("x.png")
    with pytest.raises(ConfigError, match=r"fetch\.reuse: /absent/stages/fetch-r1-0: no committed"):
        made.fetch(dataclasses.replace(WEB, reuse=("/absent/stages/fetch-r1-0",)))
    assert web.asked == []
