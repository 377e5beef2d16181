import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from trainer.evals.class_files import Class, load_classes


def write(folder: pathlib.Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def labels(folder: pathlib.Path, classes: list[str], column: str = "key") -> str:
    table = {column: [f"{number:09d}" for number in range(len(classes))], "class": classes}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    return str(folder / "labels.parquet")


def test_three_forms_of_classes_are_read(tmp_path: pathlib.Path) -> None:
    given = labels(tmp_path, ["cat", "dog"])
    plain = load_classes(write(tmp_path, "c.txt", "cat\n\ndog\n"), "", given)
    listed = load_classes(write(tmp_path, "c.json", '["cat", "dog"]'), "", given)
    assert plain.classes == listed.classes == (Class("cat", ("cat",)), Class("dog", ("dog",)))
    assert plain.labels == {"000000000": 0, "000000001": 1}
    assert plain.texts(1) == ["dog"]
    named = {"classes": [{"id": 7, "names": ["cat", "kitty"]}, {"id": 9, "names": ["dog"]}]}
    templates = write(tmp_path, "t.txt", "a photo of a {}\n{}, drawn\n")
    found = load_classes(
        write(tmp_path, "n.json", json.dumps(named)), templates, labels(tmp_path, ["9", "7"])
    )
    assert found.labels == {"000000000": 1, "000000001": 0}
    assert found.texts(0) == [
        "a photo of a cat",
        "cat, drawn",
        "a photo of a kitty",
        "kitty, drawn",
    ]


def test_whole_numbers_name_classes_and_pair_ids_name_samples(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"pair_id": ["a" * 32], "class": [3]}), tmp_path / "l.parquet")
    found = load_classes(write(tmp_path, "c.txt", "1\n3\n"), "", str(tmp_path / "l.parquet"))
    assert found.labels == {"a" * 32: 1}


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        ("cat\ndog\ncat\n", "", "c.txt: line 3: 'cat' is class 1 too"),
        ("cat\n", "", "c.txt: must have at least 2 classes, got 1"),
        ("cat\ndog\n", "a photo\n{}\n", "t.txt: line 1: must have one {}, got 'a photo'"),
        ("cat\ndog\n", "{} and {}\n", "t.txt: line 1: must have one {}, got '{} and {}'"),
        ("cat\ndog\n", "\n", "t.txt: has no template"),
        ("cat\nbird\n", "", "labels.parquet: row 2: 'dog' is not a class"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    tmp_path: pathlib.Path, classes: str, templates: str, message: str
) -> None:
    given = labels(tmp_path, ["cat", "dog"])
    path = write(tmp_path, "t.txt", templates) if templates else ""
    with pytest.raises(RefusedError) as caught:
        load_classes(write(tmp_path, "c.txt", classes), path, given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"names": []}', "must be a list of names"),
        ('["cat", ""]', "class 2: must be a name"),
        ('["cat", {"id": 1, "names": []}]', "class 2: must be a name"),
        ('["cat", {"id": true, "names": ["x"]}]', "class 2: must be a name"),
        ('["cat", {"id": "x", "names": ["cat"]}]', "class 2: 'cat' is class 1 too"),
    ],
)
def test_damaged_json_is_refused(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        load_classes(write(tmp_path, "c.json", text), "", labels(tmp_path, ["cat"]))


def test_labels_of_another_form_are_refused(tmp_path: pathlib.Path) -> None:
    classes = write(tmp_path, "c.txt", "cat\ndog\n")
    with pytest.raises(RefusedError, match=r"must have the columns pair_id or key, and class"):
        load_classes(classes, "", labels(tmp_path, ["cat"], column="name"))
    pq.write_table(pa.table({"key": ["1", "1"], "class": ["cat", "dog"]}), tmp_path / "l.parquet")
    with pytest.raises(RefusedError, match=r"row 2: key '1' is listed twice"):
        load_classes(classes, "", str(tmp_path / "l.parquet"))
    with pytest.raises(RefusedError, match="cannot be read"):
        load_classes(classes, "", str(tmp_path / "nowhere.parquet"))
