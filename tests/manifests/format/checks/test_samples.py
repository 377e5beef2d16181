"""The deep rows of the damage table: each planted in a copy gives exactly its codes."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from manifests.format import Manifest
from manifests.format.ids import pair_id
from manifests.format.schema import json_members
from manifests.format.tar import header, padded, total_bytes
from manifests.inspection.verify import verify
from tests.manifests.conftest import jpeg
from tests.manifests.damage import TAR, Copy, change_row

MakeDataset = Callable[..., Manifest]
pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def copy(make_dataset: MakeDataset) -> Copy:
    return Copy(make_dataset(12, 5))


@pytest.mark.parametrize(
    ("column", "place", "code"),
    [
        ("image_offset", 300, "image_mismatch"),
        ("image_offset", -500, "header_mismatch"),
        ("text_offset", 3, "text_mismatch"),
        ("json_offset", 14, "json_mismatch"),
        ("json_offset", -400, "header_mismatch"),
        ("text_offset", 511, "padding_mismatch"),
    ],
)
def test_a_flipped_byte_of_a_tar_names_its_sample(
    copy: Copy, column: str, place: int, code: str
) -> None:
    copy.flip(TAR, copy.rows()[column][2].as_py() + place)
    assert copy.codes("fast") == {}
    assert copy.codes() == {"sha256_mismatch": 1}
    report = verify(str(copy.root), "deep")
    assert report.by_code == {"sha256_mismatch": 1, code: 1}
    assert {finding.key for finding in report.findings} == {"", "000000007"}
    assert {finding.shard for finding in report.findings} == {1}


def test_a_caption_edited_in_the_tar_is_found_deep(copy: Copy) -> None:
    samples = copy.samples()
    samples[0]["txt"] = b"another caption"
    copy.rewrite(samples)
    assert copy.codes("sha256") == {}
    # Its length differs, so offsets behind it do not: members are padded.
    assert set(copy.codes("deep")) == {"caption_mismatch", "header_mismatch"}


def test_a_caption_edited_at_equal_length_in_the_tar_is_found_deep(copy: Copy) -> None:
    samples = copy.samples()
    samples[0]["txt"] = samples[0]["txt"].replace(b"photo", b"paint")
    copy.rewrite(samples)
    assert copy.codes("deep") == {"caption_mismatch": 1}
    assert copy.codes("fast", expect_digest=copy.digest) == {"digest_mismatch": 1}


def test_a_caption_edited_in_the_parquet_file_is_found_deep(copy: Copy) -> None:
    rows = copy.rows()
    caption = rows["caption"][0].as_py().replace("photo", "paint")
    copy.rewrite(rows=change_row(rows, 0, caption=caption))
    assert copy.codes("deep") == {"caption_mismatch": 1}


def test_a_caption_edited_everywhere_has_not_its_pair_id(copy: Copy) -> None:
    rows, samples = copy.rows(), copy.samples()
    caption = rows["caption"][0].as_py().replace("photo", "paint")
    rows = change_row(rows, 0, caption=caption)
    samples[0] |= {
        "txt": caption.encode(),
        "json": json_members(rows.combine_chunks().to_batches()[0])[0],
    }
    copy.rewrite(samples, rows)
    assert copy.codes("deep") == {"pair_id_mismatch": 1}


def test_samples_removed_with_counts_fixed_are_missed_by_the_sums(copy: Copy) -> None:
    rows, samples = copy.rows(), copy.samples()
    copy.rewrite(samples[:-1], rows.slice(0, 4))
    last = {"key_last": rows["key"][3].as_py(), "pair_id_max": rows["pair_id"][3].as_py()}
    copy.fix_records(samples=4, **last)
    assert copy.codes() == {"count_mismatch": 1}
    assert set(copy.codes("deep")) == {"count_mismatch"}
    report = verify(str(copy.root), "deep")
    assert {finding.path for finding in report.findings} == {"manifest.json", "queries.parquet"}


def test_a_sample_removed_from_the_tar_alone_is_counted(copy: Copy) -> None:
    samples = copy.samples()
    copy.rewrite(samples[:2] + samples[3:])
    assert copy.codes("deep") == {"count_mismatch": 1}


def test_swapped_samples_are_out_of_order(copy: Copy) -> None:
    samples = copy.samples()
    samples[1], samples[2] = samples[2], samples[1]
    copy.rewrite(samples)
    report = verify(str(copy.root), "deep")
    assert set(report.by_code) == {"order"}
    assert {finding.key for finding in report.findings} == {"000000006"}


def test_swapped_rows_are_out_of_order(copy: Copy) -> None:
    rows = copy.rows()
    copy.rewrite(rows=rows.take([1, 0, 2, 3, 4]))
    assert "order" in copy.codes("deep")


def test_a_pair_or_key_twice_is_found(copy: Copy) -> None:
    rows = copy.rows()
    again = {name: rows[name][0].as_py() for name in ("pair_id", "url", "caption")}
    copy.rewrite(rows=change_row(rows, 1, **again))
    assert "duplicate_pair_id" in copy.codes("deep")
    copy.rewrite(rows=change_row(rows, 1, key=rows["key"][0].as_py()))
    assert "duplicate_key" in copy.codes("deep")


def add_member(copy: Copy, info: tarfile.TarInfo, place: int = 0) -> None:
    last = copy.rows().slice(4).to_pylist()[0]
    end = last["json_offset"] + padded(last["json_bytes"])
    data = (copy.root / TAR).read_bytes()[:end]
    data = data[:place] + info.tobuf(format=tarfile.USTAR_FORMAT) + data[place:]
    (copy.root / TAR).write_bytes(data.ljust(total_bytes(len(data)), b"\0"))
    copy.fix_records()


def test_a_link_in_a_tar_is_not_expected(copy: Copy) -> None:
    link = tarfile.TarInfo("000000005.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    add_member(copy, link)
    assert copy.codes("deep") == {"unexpected_member": 1}


@pytest.mark.parametrize("name", ["../../evil", "000000099.jpg", "\x1b[31m"])
def test_another_name_in_a_tar_is_not_expected(copy: Copy, name: str) -> None:
    add_member(copy, tarfile.TarInfo(name))
    assert copy.codes("deep") == {"unexpected_member": 1}


def test_a_repeated_name_in_a_tar_is_not_expected(copy: Copy) -> None:
    end = copy.rows()["image_offset"][1].as_py() - 512
    add_member(copy, tarfile.TarInfo("000000005.jpg"), end)
    assert copy.codes("deep") == {"unexpected_member": 1}


def test_a_pax_header_in_a_tar_is_not_expected(copy: Copy) -> None:
    samples = copy.samples()
    with tarfile.open(copy.root / TAR, "w", format=tarfile.PAX_FORMAT) as opened:
        for sample in samples:
            for ext in ("jpg", "txt", "json"):
                info = tarfile.TarInfo(f"{sample['key'].decode()}.{ext}")
                info.size = len(sample[ext])
                info.pax_headers = {"comment": "x"} if ext == "txt" else {}
                opened.addfile(info, io.BytesIO(sample[ext]))
    copy.fix_records()
    codes = copy.codes("deep")
    assert codes["unexpected_member"] == 5
    assert set(codes) <= {"unexpected_member", "header_mismatch"}


def test_a_member_that_claims_more_than_the_file_holds_is_cut(copy: Copy) -> None:
    data = bytearray((copy.root / TAR).read_bytes())
    data[:512] = header("000000005.jpg", 8**11 - 1)
    (copy.root / TAR).write_bytes(data)
    copy.fix_records()
    assert copy.codes("deep") == {"header_mismatch": 1, "truncated_tar": 1}


def replace_image(copy: Copy, data: bytes, **row: Any) -> None:
    rows, samples = copy.rows(), copy.samples()
    shift = (-(-len(data) // 512) - -(-len(samples[4]["jpg"]) // 512)) * 512
    row |= {
        "sha256": hashlib.sha256(data).hexdigest(),
        "image_bytes": len(data),
        "text_offset": rows["text_offset"][4].as_py() + shift,
        "json_offset": rows["json_offset"][4].as_py() + shift,
    }
    rows = change_row(rows, 4, **row)
    jsons = json_members(rows.combine_chunks().to_batches()[0])
    copy.rewrite([*samples[:4], samples[4] | {"jpg": data, "json": jsons[4]}], rows)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"GIF89a", jpeg(1)[:200], png(24, 16), b"%PDF" * 100, b"\0" * 1000],
    ids=["empty", "start", "gif", "cut", "png", "pdf", "zeros"],
)
def test_what_is_no_jpeg_cannot_be_decoded(copy: Copy, data: bytes) -> None:
    replace_image(copy, data)
    assert copy.codes("deep") == {"undecodable_image": 1}


@pytest.mark.parametrize("side", [10_000, 65_500])
def test_an_image_of_too_many_pixels_is_not_decoded(copy: Copy, side: int) -> None:
    data = bytearray(jpeg(1))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = side.to_bytes(2, "big") * 2
    replace_image(copy, bytes(data))
    assert copy.codes("deep") == {"image_too_large": 1}


def test_an_image_of_another_size_than_its_row_is_found(copy: Copy) -> None:
    replace_image(copy, jpeg(1, 32, 32))
    assert copy.codes("deep") == {"dimensions_mismatch": 1}


def test_a_wrong_offset_is_found(copy: Copy) -> None:
    rows = copy.rows()
    copy.rewrite(rows=change_row(rows, 3, image_offset=rows["image_offset"][3].as_py() + 512))
    assert copy.codes("deep") == {"offset_mismatch": 1}


def test_a_query_that_is_not_listed_is_found(copy: Copy) -> None:
    copy.rewrite(rows=change_row(copy.rows(), 0, query_ids=[1, 7], selected_by=[-1]))
    assert copy.codes("deep")["query_id_range"] == 2


def test_rows_of_another_schema_are_found(copy: Copy) -> None:
    rows = copy.rows()
    copy.rewrite(rows=rows.drop_columns(["phash"]))
    assert copy.codes() == {"schema_mismatch": 1}
    numbers = rows.set_column(0, "key", pc.cast(rows["key"], pa.int64()))
    copy.rewrite(rows=numbers)
    assert "schema_mismatch" in copy.codes("deep")


def test_a_foreign_pair_proves_itself_by_its_image(copy: Copy) -> None:
    rows, samples = copy.rows(), copy.samples()
    urn = f"urn:sha256:{rows['sha256'][4].as_py()}"
    identity = pair_id(urn, rows["caption"][4].as_py()).hex()
    changed = change_row(rows, 4, url=urn, pair_id=identity)
    jsons = json_members(changed.combine_chunks().to_batches()[0])
    copy.rewrite([*samples[:4], samples[4] | {"json": jsons[4]}], changed)
    assert "pair_id_mismatch" not in copy.codes("deep")
