"""Block lists of image bytes, at the stage that receives them."""

import hashlib
import pathlib
from typing import Any

import pytest

from pipeline.engine.stage_dir import StageRecord
from pipeline.selection.blocks import (
    BlockedBodies,
    BlockListSettings,
    RunBlockList,
    prepare_block_lists,
)
from tests.pipeline.stages.test_fetch import SITE, Run, made, picture, rows_of
from tests.pipeline.stages.test_fetch_web import WEB, FakeWeb, ledger, web
from tests.pipeline.visit.replay import Reply

__all__ = ["made", "web"]  # the fixtures


def of_bytes(folder: pathlib.Path, name: str, *bodies: bytes) -> RunBlockList:
    """A list of the digests of `bodies`, asked at `fetch`."""
    path = folder / f"{name}.txt"
    path.write_text("".join(f"{hashlib.sha256(body).hexdigest()}\n" for body in bodies))
    settings = BlockListSettings(id=name, kind="sha256", file=str(path))
    return prepare_block_lists([settings], str(folder / "root"))[0]


def urls(record: StageRecord) -> set[str]:
    return {row["url"].removeprefix(SITE) for row in rows_of(record)}


def test_the_first_list_that_holds_a_digest_is_named(tmp_path: pathlib.Path) -> None:
    lists = (of_bytes(tmp_path, "one", b"a"), of_bytes(tmp_path, "two", b"a", b"b"))
    blocked = BlockedBodies(lists)
    names = [blocked(hashlib.sha256(body).digest()) for body in (b"a", b"b", b"c")]
    assert names == ["one", "two", None]
    assert BlockedBodies(())(bytes(32)) is None


def test_blocked_bytes_of_an_archive_are_neither_decoded_nor_stored(
    made: Run, tmp_path: pathlib.Path
) -> None:
    made.archive.add("bad.png", picture(1))
    made.archive.add("broken.png", b"\x89PNG\r\n\x1a\n and no more")
    made.archive.add("good.png", picture(2))
    kept = made.pair("good.png")
    lists = [of_bytes(tmp_path, "taken", picture(1), b"\x89PNG\r\n\x1a\n and no more")]
    expected = {
        made.pair("bad.png"): ("blocked_sha256", "taken"),
        made.pair("bad.png", "another text"): ("blocked_sha256", "taken"),
        made.pair("broken.png"): ("blocked_sha256", "taken"),
        made.pair("bad.png", "of a list", expect_sha256=bytes(32)): (
            "hash_mismatch",
            f"sha256:{hashlib.sha256(picture(1)).hexdigest()}",
        ),
    }
    record = made.fetch(blocked=lists)
    assert made.drops() == expected
    assert [row["pair_id"] for row in rows_of(record)] == [kept]
    blobs = [pathlib.Path(record.root, file.name).stat().st_size for file in record.files("blob")]
    assert sum(blobs) == rows_of(record)[0]["blob_bytes"]
    assert made.fetch().spec != record.spec


def test_blocked_bytes_of_the_web_are_not_stored(
    made: Run, web: FakeWeb, tmp_path: pathlib.Path
) -> None:
    web.replies[f"{SITE}bad.png"] = web.replies[f"{SITE}same.png"] = Reply(body=picture(1))
    lost = {made.pair("bad.png"), made.pair("same.png")}
    kept = made.pair("good.png")
    record = made.fetch(WEB, blocked=[of_bytes(tmp_path, "taken", picture(1))])
    assert [row["pair_id"] for row in rows_of(record)] == [kept]
    assert ledger(made) == dict.fromkeys(lost, ("blocked_sha256", "taken"))


def test_a_new_list_asks_no_host_again(made: Run, web: FakeWeb, tmp_path: pathlib.Path) -> None:
    web.replies[f"{SITE}bad.png"] = Reply(body=picture(1))
    made.pair("bad.png")
    made.pair("good.png")
    assert urls(made.fetch(WEB)) == {"bad.png", "good.png"}
    asked = len(web.asked)
    assert urls(made.fetch(WEB, blocked=[of_bytes(tmp_path, "taken", picture(1))])) == {"good.png"}
    assert len(web.asked) == asked
    assert ledger(made)[made.pairs[0]["pair_id"]] == ("blocked_sha256", "taken")


def test_what_another_list_blocked_is_no_fact_of_the_url(
    made: Run, web: FakeWeb, tmp_path: pathlib.Path
) -> None:
    web.replies[f"{SITE}bad.png"] = Reply(body=picture(1))
    made.pair("bad.png")
    assert made.fetch(WEB, blocked=[of_bytes(tmp_path, "taken", picture(1))]).rows_out == 0
    assert made.fetch(WEB, blocked=[of_bytes(tmp_path, "other", picture(2))]).rows_out == 1


@pytest.mark.parametrize(("kind", "at"), [("sha256", "match"), ("url", "fetch"), ("pair", "fetch")])
def test_a_stage_that_cannot_ask_a_list_is_refused(kind: Any, at: Any) -> None:
    with pytest.raises(ValueError, match=f"^at must be '.*' or 'balance' for kind '{kind}'"):
        BlockListSettings(id="a", kind=kind, file="x", at=at)
    first = "fetch" if kind == "sha256" else "match"
    assert BlockListSettings(id="a", kind=kind, file="x").place == first
    with pytest.raises(ValueError, match=r"^id must be"):
        BlockListSettings(id="a b", kind=kind, file="x")
