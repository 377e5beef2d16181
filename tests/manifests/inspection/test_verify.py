"""The damage table of the specification: each row planted in a copy gives exactly its codes."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from manifests.base.errors import RefusedError
from manifests.format import Manifest
from manifests.format.records import Level
from manifests.inspection.verify import verify
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
