"""Datasets in the layouts of others: a manifest is put beside tars that do not change."""

import io
import json
import pathlib
import tarfile
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifests.base.errors import RefusedError
from manifests.derivation.foreign.build import from_foreign
from manifests.derivation.sample import sample
from manifests.format import Manifest
from manifests.format.ids import pair_id
from manifests.format.join import rows
from manifests.inspection.verify import verify
from tests.manifests.conftest import jpeg

Members = Iterable[tuple[str, bytes]]
pytestmark = pytest.mark.usefixtures("in_process")


def write_tar(path: pathlib.Path, members: Members, form: int = tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4)).save(file, "PNG")
    return file.getvalue()


def table(manifest: Manifest) -> list[dict[str, Any]]:
    return [row for each in rows(manifest) for row in each.to_pylist()]


def img2dataset(folder: pathlib.Path, shards: int = 2, count: int = 4) -> None:
    """What img2dataset 1.47 writes with its default settings: one row in four failed."""
    for shard in range(shards):
        members, listed = [], []
        for number in range(count):
            key = f"{shard:05d}{number:04d}"
            failed = number == 1
            about = {
                "url": f"HTTP://h.example/{key}.jpg", "caption": f"a dog {key}", "key": key,
                "status": "failed_to_download" if failed else "success", "error_message": None,
                "width": None if failed else 24, "height": None if failed else 16,
                "original_width": None if failed else 48,
                "original_height": None if failed else 32, "exif": "{}",
                "sha256": None if failed else f"{number:064x}", "uid": f"u{key}",
            }  # fmt: skip
            listed.append(about)
            if not failed:
                caption = str(about["caption"]).encode()
                members += [
                    (f"{key}.jpg", jpeg(number + 10 * shard)), (f"{key}.txt", caption),
                    (f"{key}.json", json.dumps(about).encode()),
                ]  # fmt: skip
        write_tar(folder / f"{shard:05d}.tar", members)
        pq.write_table(pa.Table.from_pylist(listed), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text("{}")


def test_shards_of_img2dataset_get_a_manifest_in_place(tmp_path: pathlib.Path) -> None:
    img2dataset(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    built = from_foreign(str(tmp_path), "datacomp")
    assert {path: path.read_bytes() for path in before} == before
    assert built.skipped == {}
    manifest = built.manifest
    assert (manifest.order, manifest.image_ext, manifest.samples) == ("as_found", "jpg", 6)
    assert manifest.funnel is not None
    assert [line["drops"] for line in manifest.funnel] == [{"failed_to_download": 2}, {}]
    row = min(table(manifest), key=lambda row: row["key"])
    assert row["url"] == "http://h.example/000000000.jpg"
    assert row["pair_id"] == pair_id(row["url"], row["caption"]).hex()
    assert (row["uid"], row["foreign_key"]) == ("u000000000", "000000000")
    assert (row["width"], row["original_width"], row["reencoded"]) == (24, 48, True)
    assert row["original_sha256"] == "0" * 64
    ledger = pq.read_table(tmp_path / "ledger/img2dataset-00000.parquet").to_pylist()
    assert {each["reason"] for each in ledger} == {"failed_to_download"}
    for level in ("fast", "sha256", "deep"):
        assert verify(str(tmp_path), level).by_code == {}


def test_foreign_damage_is_found_by_its_offsets(tmp_path: pathlib.Path) -> None:
    img2dataset(tmp_path)
    manifest = from_foreign(str(tmp_path), "img2dataset").manifest
    row = manifest.reader(manifest.shards[1]).table().to_pylist()[0]
    data = bytearray((tmp_path / "00001.tar").read_bytes())
    data[row["image_offset"] + 300] ^= 1
    data[row["text_offset"]] ^= 1
    (tmp_path / "00001.tar").write_bytes(data)
    assert verify(str(tmp_path), "deep").by_code == {
        "sha256_mismatch": 1, "image_mismatch": 1, "caption_mismatch": 1,
    }  # fmt: skip


def test_a_foreign_dataset_becomes_one_of_ours(tmp_path: pathlib.Path) -> None:
    img2dataset(tmp_path / "theirs")
    built = from_foreign(str(tmp_path / "theirs"), "img2dataset")
    _, made = sample(built.manifest.root, str(tmp_path / "ours"), fraction="1")
    assert made
    assert (made.order, made.samples) == ("pair_id", 6)
    assert [row["pair_id"] for row in table(made)] == sorted(
        row["pair_id"] for row in table(built.manifest)
    )
    assert verify(made.root, "deep").by_code == {}


def test_plain_webdataset_has_a_caption_where_told(tmp_path: pathlib.Path) -> None:
    about = json.dumps({"caption": "of json", "alt": "of alt"}).encode()
    members = [("a/x.jpg", jpeg(1)), ("a/x.json", about), ("a/y.1.jpg", jpeg(2))]
    write_tar(tmp_path / "t.tar", members)
    built = from_foreign(str(tmp_path), "webdataset", caption="json:alt")
    (row,) = table(built.manifest)
    assert (row["caption"], row["text_bytes"], row["foreign_key"]) == ("of alt", 0, "a/x")
    assert row["url"] == f"urn:sha256:{row['sha256']}"
    assert (row["reencoded"], row["original_sha256"]) == (False, row["sha256"])
    assert built.skipped == {"no_image": 1}
    assert verify(str(tmp_path), "deep").by_code == {}
    _, made = sample(str(tmp_path), str(tmp_path.parent / "ours"), fraction="1")
    assert made
    assert made.reader(made.shards[0]).read([0], "text") == [b"of alt"]
    assert verify(made.root, "deep").by_code == {}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("s.txt", b"x")], "no_image"),
        ([("s.jpg", b"GIF89a"), ("s.txt", b"x")], "undecodable_image"),
        ([("s.jpg", jpeg(3)), ("s.txt", b"")], "no_caption"),
        ([("s.jpg", jpeg(3)), ("s.txt", b"\xff")], "no_caption"),
        ([("s.jpg", jpeg(3)), ("s.txt", b"a\0b")], "no_caption"),
        ([("s.jpg", jpeg(3)), ("s.json", b"[1]")], "bad_json"),
        ([("s.jpg", jpeg(3)), ("s.json", b'{"caption": "\\ud800"}')], "no_caption"),
        ([("s.jpg", jpeg(3)), ("s.txt", b"x"), ("s.txt", b"y")], "duplicate_member"),
    ],
)
def test_what_is_no_pair_is_counted_and_in_the_ledger(
    tmp_path: pathlib.Path, members: Members, reason: str
) -> None:
    write_tar(tmp_path / "t.tar", [("good.png", png()), ("good.txt", b"good"), *members])
    built = from_foreign(str(tmp_path), "webdataset")
    assert built.skipped == {reason: 1}
    assert (built.manifest.samples, built.manifest.image_ext) == (1, "mixed")
    (row,) = pq.read_table(tmp_path / "ledger/build-00000.parquet").to_pylist()
    assert (row["reason"], row["value"]) == (reason, "t.tar:s")
    assert verify(str(tmp_path), "deep").by_code == {}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read(tmp_path: pathlib.Path, form: int) -> None:
    name = "é" * 120
    write_tar(tmp_path / "t.tar", [(f"{name}.jpg", jpeg(1)), (f"{name}.txt", b"x")], form)
    (row,) = table(from_foreign(str(tmp_path), "webdataset").manifest)
    assert row["foreign_key"] == name
    assert verify(str(tmp_path), "deep").by_code == {}


def test_whole_samples_of_a_truncated_tar_are_kept(tmp_path: pathlib.Path) -> None:
    members = [(f"{n}.{ext}", jpeg(n) if ext == "jpg" else b"x") for n in range(5)
               for ext in ("jpg", "txt")]  # fmt: skip
    write_tar(tmp_path / "t.tar", members)
    data = (tmp_path / "t.tar").read_bytes()
    (tmp_path / "t.tar").write_bytes(data[:5500])
    built = from_foreign(str(tmp_path), "webdataset")
    assert built.truncated == ("t.tar",)
    assert 0 < built.manifest.samples < 5


def test_compressed_tars_and_equal_names_are_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    with tarfile.open(tmp_path / "a/t.tar", "w:gz") as opened:
        opened.addfile(tarfile.TarInfo("x"))
    with pytest.raises(RefusedError, match="not a plain tar"):
        from_foreign(str(tmp_path), "webdataset")
    write_tar(tmp_path / "b/t.tar", [("x.jpg", jpeg(1))])
    with pytest.raises(RefusedError, match="two tars have this name"):
        from_foreign(str(tmp_path), "webdataset")
    with pytest.raises(RefusedError, match="--caption"):
        from_foreign(str(tmp_path), "webdataset", caption="xml")


def test_samples_are_copied_into_our_own_layout(tmp_path: pathlib.Path) -> None:
    folder, out = tmp_path / "given", str(tmp_path / "out")
    img2dataset(folder)
    members = [("a.jpg", jpeg(7)), ("a.txt", b"twice"), ("b.jpg", jpeg(7)), ("b.txt", b"twice"),
               ("c.txt", b"no image")]  # fmt: skip
    write_tar(folder / "plain.tar", members)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    built = from_foreign(str(folder), "img2dataset", out=out)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert built.skipped == {"duplicate_pair_id": 1, "no_image": 1}
    assert verify(out, "deep").by_code == {}
    beside = from_foreign(str(folder), "img2dataset").manifest
    assert {row["pair_id"] for row in table(beside)} == {
        row["pair_id"] for row in table(built.manifest)
    }
    assert built.manifest.order == "pair_id"
    assert [line["drops"] for line in built.manifest.funnel or ()] == [
        {"failed_to_download": 2}, built.skipped]  # fmt: skip
    assert built.manifest.parents[-1]["digest"] == beside.digest


def test_a_copy_goes_nowhere_near_the_tars(tmp_path: pathlib.Path) -> None:
    img2dataset(tmp_path / "given")
    with pytest.raises(RefusedError, match="lies inside"):
        from_foreign(str(tmp_path / "given"), "img2dataset", out=str(tmp_path / "given" / "out"))
