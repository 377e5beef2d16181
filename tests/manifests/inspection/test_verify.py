"""The damage table of the specification: each row planted in a copy gives exactly its codes."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from manifests.base.errors import RefusedError
from manifests.format import Manifest
from manifests.format.records import Level
from manifests.inspection.verify import Selection, parse_range, verify
from tests.manifests.damage import PARQUET, TAR, Copy

MakeDataset = Callable[..., Manifest]
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def copy(make_dataset: MakeDataset) -> Copy:
    return Copy(make_dataset(12, 5))


@pytest.mark.parametrize("level", ["fast", "sha256", "deep"])
def test_a_whole_dataset_has_no_findings(copy: Copy, level: Level) -> None:
    report = verify(str(copy.root), level)
    assert report.by_code == {}
    assert (report.shards, report.samples, report.files) == (3, 12, 2)
    assert report.to_json()["ok"] is True


@pytest.mark.parametrize("name", [TAR, PARQUET, "queries.parquet"])
def test_a_deleted_file_is_missing(copy: Copy, name: str) -> None:
    (copy.root / name).unlink()
    assert copy.codes("fast") == {"missing_file": 1}
    assert copy.codes("deep") == {"missing_file": 1}


@pytest.mark.parametrize(
    ("name", "deep"), [(TAR, {"truncated_tar": 1}), (PARQUET, {"unreadable_parquet": 1})]
)
def test_a_truncated_file_has_another_size(copy: Copy, name: str, deep: dict[str, int]) -> None:
    data = (copy.root / name).read_bytes()
    (copy.root / name).write_bytes(data[: len(data) // 2])
    assert copy.codes("fast") == {"size_mismatch": 1}
    assert copy.codes("deep") == {"size_mismatch": 1, "sha256_mismatch": 1} | deep


def test_a_truncated_file_whose_size_was_edited_has_another_digest(copy: Copy) -> None:
    data = (copy.root / TAR).read_bytes()[:2000]
    (copy.root / TAR).write_bytes(data)

    def change(value: dict[str, Any]) -> None:
        value["totals"]["tar_bytes"] += len(data) - value["shards"][1]["tar"]["bytes"]
        value["shards"][1]["tar"]["bytes"] = len(data)

    copy.edit(change)
    assert copy.codes("fast") == {"record_mismatch": 1}
    assert copy.codes() == {"record_mismatch": 1, "sha256_mismatch": 1}
    assert copy.codes("deep") == {"record_mismatch": 1, "sha256_mismatch": 1, "truncated_tar": 1}


@pytest.mark.parametrize("name", [PARQUET, "queries.parquet", "ledger/match-00000.parquet"])
def test_a_flipped_byte_of_a_table_is_found(copy: Copy, name: str) -> None:
    copy.flip(name, 100)
    assert "sha256_mismatch" in copy.codes()


def test_files_that_are_not_listed_are_named(copy: Copy) -> None:
    (copy.root / "shards" / "00000009.tar").write_bytes(b"x")
    (copy.root / "shards" / "a.tar.tmp-12ab").write_bytes(b"x")
    (copy.root / "README.md").write_bytes(b"x")
    assert copy.codes("fast") == {"unlisted_file": 1, "leftover_temp": 1}


def test_a_record_that_was_edited_or_deleted_is_named(copy: Copy) -> None:
    (copy.root / "shards/00000000.json").unlink()
    path = copy.root / "shards/00000001.json"
    path.write_bytes(path.read_bytes().replace(b'"samples":5', b'"samples":6'))
    (copy.root / "shards/00000002.json").write_bytes(b"[" * 10_000)
    assert copy.codes("fast") == {"record_missing": 1, "record_mismatch": 2}


@pytest.mark.parametrize("path", ["../secret.tar", "/etc/passwd", "shards/../../secret.tar"])
def test_a_path_that_escapes_is_never_opened(
    copy: Copy, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.edit(lambda value: value["shards"][0]["tar"].update(path=path))
    (copy.root.parent / "secret.tar").write_bytes(b"secret")
    opened: list[str] = []
    plain = pathlib.Path.open

    def spy(self: pathlib.Path, *arguments: Any, **options: Any) -> Any:
        opened.append(str(self))
        return plain(self, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "open", spy)
    codes = copy.codes("deep")
    assert codes["path_escape"] == 1
    assert all(name.startswith(str(copy.root)) and ".." not in name for name in opened)


def test_a_symbolic_link_is_not_followed(copy: Copy) -> None:
    secret = copy.root.parent / "secret"
    (copy.root / TAR).rename(secret)
    (copy.root / TAR).symlink_to(secret)
    assert copy.codes("fast") == {"symlink": 1}
    assert copy.codes("deep") == {"symlink": 1}


def test_a_named_pipe_is_not_opened(copy: Copy) -> None:
    (copy.root / TAR).unlink()
    os.mkfifo(copy.root / TAR)
    assert copy.codes("deep") == {"missing_file": 1}


def test_an_inconsistent_root_is_a_finding_and_the_rest_is_checked(copy: Copy) -> None:
    copy.edit(lambda value: value["totals"].update(samples=13))
    copy.flip(TAR, 700)
    report = verify(str(copy.root))
    assert report.by_code == {"bad_root": 1, "count_mismatch": 1, "sha256_mismatch": 1}
    assert {finding.path for finding in report.findings} == {
        "totals.samples", "manifest.json", TAR,
    }  # fmt: skip


def test_a_root_that_is_missing_or_not_json_is_refused(copy: Copy) -> None:
    (copy.root / "manifest.json").write_text("{")
    with pytest.raises(RefusedError, match="not JSON"):
        verify(str(copy.root))


def test_a_damaged_shard_does_not_hide_the_others(copy: Copy) -> None:
    for number, place in ((0, 700), (2, 800)):
        copy.flip(f"shards/{number:08d}.tar", place)
    report = verify(str(copy.root), "deep")
    assert {finding.shard for finding in report.findings} == {0, 2}


def test_findings_above_the_limit_are_counted_only(copy: Copy) -> None:
    for number in range(5):
        (copy.root / f"extra{number}").write_bytes(b"")
    report = verify(str(copy.root), "fast", max_findings=2)
    assert report.by_code == {"unlisted_file": 5}
    assert [finding.path for finding in report.findings] == ["extra0", "extra1"]


def test_drops_that_the_ledger_has_not_are_found(copy: Copy) -> None:
    def change(value: dict[str, Any]) -> None:
        value["funnel"][0]["drops"]["no_query_match"] = 4
        value["funnel"][0]["rows_in"] += 1

    copy.edit(change)
    report = verify(str(copy.root), "deep")
    assert report.by_code == {"count_mismatch": 1}
    assert (report.findings[0].expected, report.findings[0].actual) == ("4", "3")


def test_a_linked_file_is_read_if_that_is_asked_for(copy: Copy) -> None:
    store = copy.root.parent / "store"
    (copy.root / TAR).rename(store)
    (copy.root / TAR).symlink_to(store)
    select = Selection(follow_links=True)
    assert copy.codes("deep", select=select) == {}
    store.unlink()
    store.mkdir()
    assert copy.codes("deep", select=select) == {"missing_file": 1}


def test_a_linked_folder_is_never_followed(copy: Copy) -> None:
    (copy.root / "shards").rename(copy.root.parent / "elsewhere")
    (copy.root / "shards").symlink_to(copy.root.parent / "elsewhere")
    codes = copy.codes("sha256", select=Selection(follow_links=True))
    assert codes == {"symlink": 6, "record_missing": 3}


def test_only_the_shards_asked_for_are_read(copy: Copy) -> None:
    for number in (0, 2):
        copy.flip(f"shards/{number:08d}.tar", 700)
    (copy.root / "shards/00000000.parquet").unlink()
    report = verify(str(copy.root), "deep", select=Selection(first=1, last=2))
    assert (report.shards, report.samples) == (2, 7)
    assert {finding.shard for finding in report.findings} == {2}


def test_a_sample_of_shards_is_the_same_each_time(make_dataset: MakeDataset) -> None:
    shards = make_dataset(24, 2).shards
    chosen = [[shard.id for shard in Selection(sample=count).of(shards)] for count in (3, 3, 5, 99)]
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) < set(chosen[2])
    assert chosen[3] == [shard.id for shard in shards]


@pytest.mark.parametrize("text", ["", "3", "5-2", "a-b", "-1-2", "1-2-3"])
def test_a_malformed_range_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="--shards"):
        parse_range(text)


def test_an_interrupted_check_goes_on_and_says_the_same(
    copy: Copy, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.flip("shards/00000000.tar", 700)
    whole = verify(str(copy.root), "deep")
    state = tmp_path / "state.jsonl"
    verify(str(copy.root), "deep", state=str(state))
    lines = state.read_bytes().splitlines(keepends=True)
    state.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # killed within the fifth line
    asked: list[str] = []

    def spy(function: Any, tasks: Any, *arguments: Any) -> Any:
        asked.extend(task.path for task in tasks)
        return ((task, function(task, lambda row: None)) for task in tasks)

    monkeypatch.setattr("manifests.inspection.verify.run_isolated", spy)
    assert verify(str(copy.root), "deep", state=str(state)) == whole
    assert asked == ["shards/00000001.tar", "shards/00000002.tar"]
    assert verify(str(copy.root), "deep", state=str(state)) == whole


def test_a_state_of_another_dataset_or_level_is_refused(copy: Copy, tmp_path: pathlib.Path) -> None:
    state = str(tmp_path / "state.jsonl")
    verify(str(copy.root), state=state)
    with pytest.raises(RefusedError, match="--state"):
        verify(str(copy.root), "deep", state=state)
    copy.edit(lambda value: value.update(name="another"))
    with pytest.raises(RefusedError, match="name a new file"):
        verify(str(copy.root), state=state)


def test_a_lost_root_can_be_rebuilt_from_records_and_says_so(copy: Copy) -> None:
    (copy.root / "manifest.json").unlink()
    with pytest.raises(RefusedError, match="build --from records"):
        verify(str(copy.root))


def test_shards_whose_ids_overlap_are_found_in_the_root(copy: Copy) -> None:
    def change(value: dict[str, Any]) -> None:
        value["shards"][1]["pair_id_min"] = value["shards"][0]["pair_id_max"]

    copy.edit(change)
    assert copy.codes("fast") == {"bad_root": 1, "record_mismatch": 1}
