"""After a takedown the dataset is whole, and what was dropped is nowhere in its folder."""

import dataclasses
import datetime
import json
import os
import pathlib
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.base import storage
from manifests.base.errors import OpenwitError, RefusedError
from manifests.derivation import drop as drops
from manifests.derivation.choosing.plan import Plan, plan_drop
from manifests.derivation.choosing.selectors import Kind, Matcher, Selector, parse, read_file
from manifests.derivation.drop import apply_drop
from manifests.format import Manifest, commit, load
from manifests.format.join import rows
from manifests.inspection.show import Wanted, find
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]
DATE = datetime.date(2026, 1, 2)
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(20, 6)


def table(manifest: Manifest) -> list[dict[str, Any]]:
    return [row for each in rows(manifest) for row in each.to_pylist()]


def take(manifest: Manifest, *selectors: Selector, distance: int = 0) -> Manifest:
    plan = plan_drop(manifest.root, Matcher(selectors, distance=distance))
    return apply_drop(plan, reason="takedown", date=DATE, request="T-1")


def words(root: pathlib.Path) -> Iterator[bytes]:
    """Everything that the files of a folder hold, decompressed."""
    for path in root.rglob("*"):
        if path.suffix == ".parquet":
            yield str(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".tar":
            with tarfile.open(path) as opened:
                for member in opened.getmembers():
                    extracted = opened.extractfile(member)
                    assert extracted is not None
                    yield member.name.encode() + extracted.read()
        elif path.is_file():
            yield path.read_bytes()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chosen=st.sets(st.integers(0, 19), min_size=1), kind=st.sampled_from(["pair_id", "url"]))
def test_what_was_dropped_is_nowhere_and_the_rest_is_whole(
    make_dataset: MakeDataset, chosen: set[int], kind: Kind
) -> None:
    source = make_dataset(20, 6)
    before = table(source)
    gone = [before[number] for number in chosen]
    made = take(source, *(parse(kind, row[kind]) for row in gone))
    assert load(source.root) == made
    assert verify(source.root, "deep").by_code == {}
    left = {row["key"]: row["pair_id"] for row in table(made)}
    assert left == {row["key"]: row["pair_id"] for row in before if row not in gone}
    found = b"\n".join(words(pathlib.Path(source.root)))
    assert not [row for row in gone
                if row["url"].encode() in found or row["caption"].encode() in found]  # fmt: skip
    for row in gone:
        shown = find(made, Wanted(pair_id=row["pair_id"]))
        assert [each["reason"] for each in shown.tombstones] == ["takedown"]
        assert [each["stage"] for each in shown.ledger] == ["drop"]
    for path in pathlib.Path(source.root).rglob("*"):
        if path.is_file():
            path.unlink()


def test_a_plan_changes_nothing(source: Manifest) -> None:
    before = {path: path.read_bytes() for path in pathlib.Path(source.root).rglob("*.*")}
    row = table(source)[0]
    unknown = Selector("domain", "nowhere.example")
    plan = plan_drop(source.root, Matcher([Selector("url", row["url"]), unknown]))
    assert plan.to_json() == {
        "rows": 1,
        "alternates": 0,
        "examples": 0,
        "shards": 1,
        "bytes": source.shards[0].tar.bytes + source.shards[0].parquet.bytes,
        "unmatched": [{"kind": "domain", "value": "nowhere.example"}],
        "stale": [],
    }
    assert {path: path.read_bytes() for path in pathlib.Path(source.root).rglob("*.*")} == before


def test_a_domain_takes_its_hosts_and_all_below(source: Manifest) -> None:
    made = take(source, parse("domain", "Host1.example"))
    assert {row["url"].split("/")[2] for row in table(made)} == {"host0.example", "host2.example"}
    made = take(made, parse("domain", "example"))
    assert (made.samples, made.shards, made.revision) == (0, (), 2)
    assert verify(source.root, "deep").by_code == {}


def test_an_emptied_shard_leaves_and_others_keep_their_files(source: Manifest) -> None:
    first = [row["pair_id"] for row in table(source)[:6]]
    made = take(source, *(Selector("pair_id", each) for each in first))
    assert made.shards == source.shards[1:]
    assert not pathlib.Path(source.root, "shards/00000000.tar").exists()


def test_files_of_later_revisions_have_new_names(source: Manifest) -> None:
    all_rows = table(source)
    take(source, Selector("pair_id", all_rows[0]["pair_id"]))
    made = take(load(source.root), Selector("pair_id", all_rows[1]["pair_id"]))
    assert [shard.tar.path for shard in made.shards[:2]] == [
        "shards/00000000-r2.tar", "shards/00000001.tar",
    ]  # fmt: skip
    assert {file.path for file in made.files} == {
        "queries-r2.parquet", "ledger/match-00000.parquet", "ledger/drop-r1-00000.parquet",
        "ledger/drop-r2-00000.parquet", "tombstones-r2.parquet",
    }  # fmt: skip
    graves = pq.read_table(made.path("tombstones-r2.parquet")).to_pylist()
    assert [grave["pair_id"] for grave in graves] == [row["pair_id"] for row in all_rows[:2]]
    assert {grave["request"] for grave in graves} == {"T-1"}
    assert {grave["date"] for grave in graves} == {DATE}
    assert made.funnel is not None
    assert made.funnel[-1] == {
        "stage": "drop", "rows_in": 20, "rows_out": 18, "drops": {"takedown": 2},
        "failed_units": 0,
    }  # fmt: skip
    assert [parent["op"] for parent in made.parents] == ["drop", "drop"]
    assert verify(source.root, "deep").by_code == {}


def test_examples_of_the_ledger_are_forgotten(source: Manifest) -> None:
    made = take(source, parse("domain", "dropped.example"))
    assert made.samples == 20
    ledger = [pq.read_table(made.path(file.path)) for file in made.listed("ledger")]
    assert all(each["url"].null_count == len(each) for each in ledger)


def test_hashes_take_images_stored_or_found_and_near_ones(source: Manifest) -> None:
    all_rows = table(source)
    made = take(source, Selector("sha256", all_rows[3]["original_sha256"]))
    assert made.samples == 19
    near = all_rows[5]["phash"]
    distance = 3
    expected = [
        row for row in all_rows[:3] + all_rows[4:]
        if (int(row["phash"], 16) ^ int(near, 16)).bit_count() > distance
    ]  # fmt: skip
    made = take(made, Selector("phash", near), distance=distance)
    assert [row["pair_id"] for row in table(made)] == [row["pair_id"] for row in expected]


def with_alternate(manifest: Manifest, url: str) -> Manifest:
    """Give the first pair one more alternate, of another host."""
    shard = manifest.shards[0]
    path = pathlib.Path(manifest.path(shard.parquet.path))
    found = pq.read_table(path)
    lists = found["alternates"].to_pylist()
    lists[0].append({"text": "other", "source": "alt", "url": url, "page_url": None})
    place = found.schema.get_field_index("alternates")
    field = found.schema.field(place)
    import hashlib

    import pyarrow as pa

    pq.write_table(found.set_column(place, field, pa.array(lists, field.type)), path)
    data = path.read_bytes()
    entry = dataclasses.replace(
        shard.parquet, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    changed = dataclasses.replace(shard, parquet=entry)
    made = dataclasses.replace(manifest, shards=(changed, *manifest.shards[1:]))
    pathlib.Path(manifest.path(shard.record_path)).write_bytes(changed.file_bytes(made.spec))
    commit(made.root, made)
    return made


def test_of_a_pair_that_stays_only_the_alternate_goes(source: Manifest) -> None:
    changed = with_alternate(source, "http://other.example/x.jpg")
    plan = plan_drop(changed.root, Matcher([parse("domain", "other.example")]))
    assert (len(plan.rows), plan.alternates, plan.unmatched) == (0, 1, [])
    made = apply_drop(plan, reason="optout", date=DATE)
    assert made.samples == 20
    assert len(table(made)[0]["alternates"]) == 1
    assert verify(made.root, "deep").by_code == {}


def test_repeating_changes_nothing(source: Manifest) -> None:
    selector = parse("domain", "host1.example")
    made = take(source, selector)
    assert take(made, selector) == made


class KilledError(Exception):
    pass


@pytest.mark.parametrize("place", ["commit", "remove"])
def test_a_crash_leaves_the_old_dataset_or_the_new_one(
    source: Manifest, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    selector = parse("domain", "host1.example")

    def die(*arguments: Any, **options: Any) -> None:
        raise KilledError

    target = drops if place == "commit" else storage
    with monkeypatch.context() as patch:
        patch.setattr(target, place, die)
        with pytest.raises(KilledError):
            take(source, selector)
    now = load(source.root)
    assert now.digest == source.digest if place == "commit" else now.revision == 1
    assert set(verify(source.root, "deep").by_code) <= {"unlisted_file"}
    made = take(now, selector)
    assert made.revision == 1
    assert verify(source.root, "deep").by_code == {}


def test_a_dataset_that_changed_since_the_plan_is_left_alone(source: Manifest) -> None:
    plan: Plan = plan_drop(source.root, Matcher([parse("domain", "host1.example")]))
    take(source, parse("domain", "host2.example"))
    with pytest.raises(OpenwitError, match="it changed meanwhile"):
        apply_drop(plan, reason="legal", date=DATE)


def test_a_held_lock_is_refused_and_a_dead_ones_taken_over(source: Manifest) -> None:
    path = pathlib.Path(source.root, ".openwit-lock")
    path.write_text(json.dumps({"host": "elsewhere", "pid": 12}))
    with pytest.raises(RefusedError, match="process 12 on elsewhere"):
        take(source, parse("domain", "host1.example"))
    path.write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}))
    take(source, parse("domain", "host1.example"))
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("pair_id", "zz"),
        ("sha256", "0" * 63),
        ("phash", "0" * 17),
        ("url", "ftp://a.example/"),
        ("url", "nonsense"),
        ("domain", "a.example/path"),
        ("domain", "a.example:80x"),
        ("domain", ""),
    ],
)
def test_malformed_selectors_are_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("url", "HTTP://A.example:80/x#part", "http://a.example/x"),
        ("domain", "Bücher.example", "xn--bcher-kva.example"),
        ("domain", "=a.example", "=a.example"),
        ("sha256", "AB" * 32, "ab" * 32),
    ],
)
def test_selectors_get_their_canonical_form(kind: Kind, text: str, value: str) -> None:
    assert parse(kind, text) == Selector(kind, value)


def test_a_host_alone_leaves_what_is_below() -> None:
    matcher = Matcher([parse("domain", "=a.example"), parse("domain", "b.example")])
    named = {url: matcher.place(url) is not None for url in (
        "http://a.example/x", "http://x.a.example/", "http://x.b.example/", "https://u@b.example:8/",
        "http://ab.example/", "urn:sha256:00",
    )}  # fmt: skip
    assert list(named.values()) == [True, False, True, True, False, False]


def test_a_bad_line_of_a_list_stops_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "list").write_text("# theirs\n\nhttp://a.example/1\nno url\n")
    with pytest.raises(RefusedError, match="line 4: must be"):
        read_file("url", str(tmp_path / "list"))


def test_nothing_selected_is_refused(source: Manifest) -> None:
    with pytest.raises(RefusedError, match="no selector"):
        plan_drop(source.root, Matcher([]))
    with pytest.raises(RefusedError, match="--distance"):
        Matcher([], distance=17)
