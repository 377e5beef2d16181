"""Groups of near-duplicates: which are shown, and the images that were dropped for them."""

import dataclasses
import pathlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from manifests.format import Manifest, commit
from manifests.format.ledger import write_ledger
from manifests.format.schema import LEDGER
from manifests.report.groups import MEMBERS, groups
from tests.manifests.conftest import jpeg

MakeDataset = Callable[..., Manifest]
DROPS = LEDGER.set(0, pa.field("pair_id", pa.binary(16)))


def with_drops(source: Manifest, drops: list[tuple[int, str, int]]) -> Manifest:
    """The dataset with near-duplicates in its ledger: number, id of the kept one, distance."""
    rows = [
        {"pair_id": bytes([number]) * 16, "stage": "dedup", "reason": "dup_near", "count": 1,
         "value": f"{kept}:{bits}", "url": "http://h.example/", "caption": f"copy {number}"}
        for number, kept, bits in drops
    ]  # fmt: skip
    batch = pa.RecordBatch.from_pylist(rows, schema=DROPS)
    files = (*source.files, *write_ledger(source.root, "dedup", lambda: [batch]))
    changed = dataclasses.replace(source, files=files, funnel=None)
    commit(source.root, changed)
    return changed


def write_blobs(stages: pathlib.Path, numbers: list[int], blob: str = "") -> None:
    folder = stages / "fetch-0123456789ab"
    folder.mkdir(parents=True)
    rows, data = [], b""
    for number in numbers:
        image = jpeg(number)
        rows.append({"pair_id": bytes([number]) * 16, "text": f"copy {number}", "width": 24,
                     "height": 16, "blob": blob or "stages/fetch-0123456789ab/part-0.blob",
                     "blob_offset": len(data), "blob_bytes": len(image)})  # fmt: skip
        data += image
    (folder / "part-0.blob").write_bytes(data)
    ids = pa.array([row.pop("pair_id") for row in rows], pa.binary(16))
    table = pa.Table.from_pylist(rows).append_column("pair_id", ids)
    pq.write_table(table, folder / "part-0.parquet")


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(12, 5)


@pytest.fixture
def ids(source: Manifest) -> list[str]:
    return [each for shard in source.shards
            for each in source.reader(shard).table(["pair_id"])["pair_id"].to_pylist()]  # fmt: skip


def test_the_widest_groups_come_first_with_their_farthest_members(
    source: Manifest, ids: list[str], tmp_path: pathlib.Path
) -> None:
    many = [(number, ids[1], number) for number in range(1, 10)]
    changed = with_drops(source, [*many, (40, ids[4], 30), (41, ids[5], 0), (42, "0" * 32, 60)])
    write_blobs(tmp_path / "stages", [*range(1, 10), 40])
    widest = groups(changed, str(tmp_path / "stages"))["Widest groups"]
    assert [group.kept.row["pair_id"] for group in widest] == [ids[4], ids[1]]
    assert [group.distances for group in widest] == ["30", "1 to 9"]
    assert [each.row["bits"] for each in widest[1].members] == [9, 8, 7, 6, 5, 4]
    assert len(widest[1].members) == MEMBERS
    assert all(each.src.startswith("data:image/jpeg") for each in widest[1].members)


def test_without_stages_members_have_no_image(source: Manifest, ids: list[str]) -> None:
    widest = groups(with_drops(source, [(1, ids[1], 3)]), None)["Widest groups"]
    assert [(each.src, each.row["caption"]) for each in widest[0].members] == [("", "copy 1")]


@pytest.mark.parametrize("blob", ["../secret", "/etc/passwd", "stages/../../secret"])
def test_a_blob_outside_of_the_folder_is_not_read(
    source: Manifest, ids: list[str], tmp_path: pathlib.Path, blob: str
) -> None:
    (tmp_path / "secret").write_bytes(jpeg(1))
    write_blobs(tmp_path / "stages", [1], blob)
    changed = with_drops(source, [(1, ids[1], 3)])
    member = groups(changed, str(tmp_path / "stages"))["Widest groups"][0].members[0]
    assert (member.src, member.problem) == ("", "its blob is not in the folder")


def test_a_dataset_without_groups_says_so(make_dataset: MakeDataset) -> None:
    with pytest.raises(RefusedError, match="no pair stands for"):
        groups(make_dataset(1), None)
