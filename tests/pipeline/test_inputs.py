import hashlib
import pathlib

import pytest

from manifests.base.errors import RefusedError
from pipeline.engine import files
from pipeline.inputs import input_units, logical_name
from pipeline.readers.kinds import InputSettings


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "warc").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "warc" / f"{name}.warc.gz").write_text(f"WARC/{name}")
    return tmp_path


def settings(*paths: str, **values: object) -> InputSettings:
    return InputSettings(kind="warc", paths=paths, **values)  # type: ignore[arg-type]


def test_a_unit_is_named_by_the_path_below_the_base(folder: pathlib.Path) -> None:
    units = input_units(settings("warc/b.warc.gz", "warc/a.warc.gz"), str(folder), str(folder))
    assert [unit.sources[0].name for unit in units] == ["warc/a.warc.gz", "warc/b.warc.gz"]
    assert units[0].id == hashlib.sha256(b"warc/a.warc.gz").hexdigest()[:16]
    assert units[0].sources[0].sha256 == hashlib.sha256(b"WARC/a").hexdigest()
    assert units[0].sources[0].path == str(folder / "warc" / "a.warc.gz")
    below = input_units(settings("warc/a.warc.gz", base="warc"), str(folder), str(folder))
    assert below[0].sources[0].name == "a.warc.gz"


def test_a_list_names_paths_relative_to_itself(folder: pathlib.Path) -> None:
    (folder / "warc" / "list.txt").write_text("a.warc.gz\n\n../warc/c.warc.gz\n")
    units = input_units(settings("@warc/list.txt"), str(folder), str(folder))
    assert [unit.sources[0].name for unit in units] == ["warc/a.warc.gz", "warc/c.warc.gz"]


def test_an_input_outside_the_base_is_refused(folder: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match=r"input.base: .*a.warc.gz is outside"):
        input_units(settings("../warc/a.warc.gz"), str(folder / "runs"), str(folder))


def test_missing_inputs_are_counted_and_the_first_ten_named(folder: pathlib.Path) -> None:
    paths = [f"warc/{index:02}.warc.gz" for index in range(12)]
    with pytest.raises(RefusedError, match="12 of 13 files are missing") as caught:
        input_units(settings("warc/a.warc.gz", *paths), str(folder), str(folder))
    assert "09.warc.gz" in str(caught.value)
    assert "10.warc.gz" not in str(caught.value)
    kept = input_units(settings("warc/a.warc.gz", *paths, missing="skip"), str(folder), str(folder))
    assert len(kept) == 1


def test_a_pattern_is_refused_with_the_way_out(folder: pathlib.Path) -> None:
    with pytest.raises(RefusedError, match=r"\*.warc.gz: patterns are not expanded.*@FILE"):
        input_units(settings("warc/*.warc.gz"), str(folder), str(folder))


@pytest.mark.parametrize(
    ("text", "message"), [("", "no file is listed"), ("a\x01.warc.gz", "control characters")]
)
def test_an_empty_list_or_a_control_character_is_refused(
    folder: pathlib.Path, text: str, message: str
) -> None:
    (folder / "list.txt").write_text(text)
    with pytest.raises(RefusedError, match=message):
        input_units(settings("@list.txt"), str(folder), str(folder))


def test_two_spellings_of_one_file_are_one_input(folder: pathlib.Path) -> None:
    units = input_units(
        settings("warc/a.warc.gz", "warc/../warc/a.warc.gz"), str(folder), str(folder)
    )
    assert len(units) == 1


def test_an_unchanged_file_is_not_read_again(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings("warc/a.warc.gz", "warc/b.warc.gz")
    first = input_units(chosen, str(folder), str(folder / "root"))
    (folder / "warc" / "b.warc.gz").write_text("WARC/bb")
    read: list[str] = []
    real = files.sha256_of

    def note(path: str) -> str:
        read.append(pathlib.Path(path).name)
        return real(path)

    monkeypatch.setattr(files, "sha256_of", note)
    second = input_units(chosen, str(folder), str(folder / "root"))
    assert read == ["b.warc.gz"]
    assert first[0] == second[0]
    assert second[1].sources[0].sha256 == hashlib.sha256(b"WARC/bb").hexdigest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"filedesc://a.arc 1.1.1.1", "ARC file"),
        (b"<html>" * 100, "begins neither"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(
    folder: pathlib.Path, data: bytes, message: str
) -> None:
    (folder / "warc" / "b.warc.gz").write_bytes(data)
    paths = ("warc/a.warc.gz", "warc/b.warc.gz")
    with pytest.raises(RefusedError, match=rf"1 of 2 files are not WARC .*b.warc.gz: .*{message}"):
        input_units(settings(*paths), str(folder), str(folder))


def test_damage_at_the_start_of_an_archive_is_not_refused(folder: pathlib.Path) -> None:
    (folder / "warc" / "b.warc.gz").write_bytes(bytes(1000) + b"\x1f\x8b\x08")
    assert input_units(settings("warc/b.warc.gz"), str(folder), str(folder))


def test_without_hashing_nothing_is_read_or_written(folder: pathlib.Path) -> None:
    root = folder / "root"
    (unit,) = input_units(settings("warc/a.warc.gz"), str(folder), str(root), hashing=False)
    assert unit.sources[0].sha256 == ""
    assert not root.exists()
    (hashed,) = input_units(settings("warc/a.warc.gz"), str(folder), str(root))
    (again,) = input_units(settings("warc/a.warc.gz"), str(folder), str(root), hashing=False)
    assert again == hashed


def test_a_uri_outside_the_base_is_its_own_name() -> None:
    url = "https://data.example/crawl/a.warc.gz"
    assert logical_name(url, "/folder") == url
    assert logical_name(url, "https://data.example") == "crawl/a.warc.gz"
