import io
import pathlib
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from filters.hashes.perceptual import record, sample_image
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.hashes.build import build_hashes
from pipeline.hashes.files import read_hashes


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def rows_of(path: pathlib.Path) -> list[dict[str, object]]:
    return [row for batch in read_hashes(str(path)) for row in batch.to_pylist()]


@pytest.fixture
def pictures(tmp_path: pathlib.Path) -> dict[str, bytes]:
    return {
        "a.png": encoded(sample_image(300, 200)),
        "b/c.jpg": encoded(sample_image(200, 300), "JPEG"),
        "b/d.bmp": encoded(ImageOps.expand(sample_image(300, 200), 12, (255, 255, 255)), "BMP"),
    }


def folder_of(root: pathlib.Path, pictures: dict[str, bytes]) -> pathlib.Path:
    for name, data in pictures.items():
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "images" / "notes.txt").write_text("no image", encoding="ascii")
    return root / "images"


def test_a_folder_is_hashed_as_it_is_and_mirrored(
    tmp_path: pathlib.Path, pictures: dict[str, bytes]
) -> None:
    out = tmp_path / "h.parquet"
    found = build_hashes([str(folder_of(tmp_path, pictures))], name="toy", out=str(out))
    rows = {(row["item"], row["variant"]): row for row in rows_of(out)}
    assert (found.images, found.rows, found.bad) == (3, 8, 0)
    picture = sample_image(300, 200)
    assert rows["a.png", "id"]["dedup_hash"] == record(picture).hash
    assert rows["a.png", "mirror"]["dedup_hash"] == record(ImageOps.mirror(picture)).hash
    assert rows["b/d.bmp", "trim"]["dedup_hash"] == record(picture).hash
    mirrored = record(ImageOps.mirror(picture)).hash
    assert rows["b/d.bmp", "mirror_trim"]["dedup_hash"] == mirrored
    assert (rows["b/c.jpg", "id"]["width"], rows["b/c.jpg", "id"]["height"]) == (200, 300)


def test_tar_and_parquet_give_the_hashes_of_the_folder(
    tmp_path: pathlib.Path, pictures: dict[str, bytes]
) -> None:
    folder = folder_of(tmp_path, pictures)
    tar, table = tmp_path / "t.tar", tmp_path / "t.parquet"
    with tarfile.open(tar, "w") as file:
        file.add(folder, ".")
    images = [{"bytes": pictures[name], "path": name} for name in sorted(pictures)]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 2]}), table)
    hashes = []
    for source in (folder, tar, table):
        out = tmp_path / f"{source.name}.hashes"
        build_hashes([str(source)], name="toy", out=str(out), kind="block")
        hashes.append(sorted(str(row["dedup_hash"]) for row in rows_of(out)))
    assert hashes[0] == hashes[1] == hashes[2]


def test_unreadable_images_are_all_named_or_counted(
    tmp_path: pathlib.Path, pictures: dict[str, bytes]
) -> None:
    broken = {"x.png": pictures["a.png"][:90], "y.jpg": b"no image"}
    folder = folder_of(tmp_path, {**pictures, **broken})
    out = tmp_path / "h.parquet"
    with pytest.raises(OpenwitError, match=r"(?s)x\.png: .*y\.jpg: .*2 images: .*--skip-bad") as at:
        build_hashes([str(folder)], name="toy", out=str(out))
    assert at.value.exit_code == 1
    assert not out.exists()
    assert build_hashes([str(folder)], name="toy", out=str(out), skip_bad=True).bad == 2


@pytest.mark.parametrize(
    ("source", "values", "message"),
    [
        ("none", {}, "none: no folder of images, tar, Parquet file or dataset"),
        ("empty", {}, "the sources hold no image"),
        ("empty", {"kind": "other"}, "--kind other: not a kind"),
        ("empty", {"name": "a:b"}, "--set a:b: must be a name without a colon"),
        ("empty", {"kind": "published"}, "--kind published: takes datasets"),
        ("no.parquet", {}, "no column of image bytes"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: pathlib.Path, source: str, values: dict[str, str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "no.parquet")
    with pytest.raises(RefusedError, match=message):
        build_hashes(
            [str(tmp_path / source)],
            name=values.get("name", "toy"),
            kind=values.get("kind", "eval"),
            out=str(tmp_path / "h.parquet"),
        )
