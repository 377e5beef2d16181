import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from manifests.base.errors import OpenwitError, RefusedError
from manifests.format import Manifest, commit, load
from manifests.format.manifest import config_digest, parse_manifest
from manifests.format.records import ShardRecord, StoredFile

MakeDataset = Callable[..., Manifest]
KEYS = [
    "kind", "schema_version", "revision", "name", "version", "description", "license", "digest",
    "spec", "tool", "schema", "config", "config_digest", "samples_per_shard", "key_digits",
    "image_ext", "order", "hash", "query_list", "totals", "funnel", "parents", "files", "shards",
]  # fmt: skip


@pytest.fixture
def root(make_dataset: MakeDataset) -> pathlib.Path:
    return pathlib.Path(make_dataset(25, 10).root)


def edit(root: pathlib.Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / "manifest.json"
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def test_what_was_committed_is_loaded(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(25, 10)
    assert load(manifest.root) == manifest
    assert load(f"{manifest.root}/manifest.json") == manifest
    assert load(manifest.root).samples == 25


def test_the_digest_is_that_of_the_specification() -> None:
    tar = "0b28a3e4a1655280530ec018289b2dfcd34f1e7e8da67837a38b939ebd8f5695"
    shard = ShardRecord(
        id=0,
        samples=2,
        key_first="000000000",
        key_last="000000001",
        pair_id_min="0" * 32,
        pair_id_max="1" * 32,
        tar=StoredFile("shards/00000000.tar", 10_240, tar),
        parquet=StoredFile("shards/00000000.parquet", 0, hashlib.sha256(b"").hexdigest()),
    )
    digest = hashlib.sha256(shard.digest_lines.encode()).hexdigest()
    assert digest == "0ad78534c87d37de4ba8e033a21fb1974e802dfd6acb186af006413bb029b84e"


def test_an_empty_dataset_has_the_digest_of_nothing(make_dataset: MakeDataset) -> None:
    digest = load(make_dataset(0).root).digest
    assert digest == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_file_has_one_value_a_line_in_the_order_of_the_contract(root: pathlib.Path) -> None:
    text = (root / "manifest.json").read_text()
    assert list(json.loads(text)) == KEYS
    lines = text.splitlines()
    assert lines[0] == "{"
    assert [line.partition(":")[0].strip('"') for line in lines[1 : len(KEYS) + 1]] == KEYS
    assert lines[len(KEYS) + 1 : len(KEYS) + 4] == [line for line in lines if '"tar":' in line]
    assert text.endswith("]\n}\n")


def test_unknown_keys_survive_at_every_level(root: pathlib.Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["zebra"] = {"b": 1, "a": [None]}
        value["apple"] = 1.5
        value["shards"][1]["note"] = "x"
        value["files"][0]["note"] = "y"

    edit(root, change)
    again = load(str(root)).to_bytes()
    value = json.loads(again)
    assert list(value) == [*KEYS, "apple", "zebra"]
    assert (value["shards"][1]["note"], value["files"][0]["note"]) == ("x", "y")
    assert parse_manifest(again, str(root)).to_bytes() == again


def test_url_creator_and_citation_stand_behind_the_license(make_dataset: MakeDataset) -> None:
    manifest = dataclasses.replace(make_dataset(3), creator="me", url="http://example.com/")
    assert list(manifest.to_json())[6:10] == ["license", "url", "creator", "digest"]


def test_settings_have_the_digest_of_their_sorted_json() -> None:
    expected = hashlib.sha256('{"a":"é","b":{"c":1,"d":2}}'.encode()).hexdigest()
    assert config_digest({"b": {"d": 2, "c": 1}, "a": "é"}) == expected


def set_value(*path: Any) -> Callable[[dict[str, Any]], None]:
    *parents, name, new = path

    def change(value: Any) -> None:
        for parent in parents:
            value = value[parent]
        value[name] = new

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("revision", True), "revision: must be a whole number"),
        (set_value("revision", 1.0), "revision: must be a whole number"),
        (set_value("revision", -1), "revision: must be a whole number"),
        (set_value("license", 3), "license: must be a string or null"),
        (set_value("image_ext", "gif"), "image_ext: must be jpg or mixed"),
        (set_value("samples_per_shard", 0), "samples_per_shard: must be a whole number from 1"),
        (set_value("digest", "sha256:" + "0" * 64), "digest: is not that of the listed shards"),
        (set_value("totals", "samples", 24), r"totals\.samples: is not the sum.*24, expected 25"),
        (set_value("totals", {}), r"totals\.shards: is not the sum"),
        (set_value("shards", 1, "id", 0), r"shards\[1\]\.id: ids must ascend"),
        (set_value("shards", 0, "samples", 0), r"shards\[0\]\.samples: must be a whole number"),
        (set_value("shards", 1, "key_first", "000000009"), "key ranges overlap"),
        (set_value("shards", 1, "pair_id_min", "0" * 32), "ranges of pair ids overlap"),
        (set_value("shards", 0, "key_last", "x"), r"shards\[0\]\.key_last: must be 9 digits"),
        (set_value("shards", 0, "tar", "path", "../x"), r"tar: the path has an empty part"),
        (set_value("shards", 0, "tar", "bytes", 1.5), r"tar: must be a file"),
        (set_value("shards", 0, "tar", []), r"tar: must be a file"),
        (set_value("shards", 0, 5), r"shards\[0\]: must be an object"),
        (set_value("shards", {}), "shards: must be a list"),
        (set_value("files", 0, "path", "/etc/passwd"), r"files\[0\]\.path: the path"),
        (set_value("files", 0, "sha256", "A" * 64), r"files\[0\]\.sha256: must be 64 hex digits"),
        (set_value("funnel", 0, "rows_out", 1), r"funnel\[0\]: rows_in must be rows_out plus"),
        (set_value("funnel", 0, "drops", None), r"funnel\[0\]: must have whole rows_in"),
    ],
)
def test_an_inconsistent_root_is_refused_with_the_place(
    root: pathlib.Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(root, change)
    with pytest.raises(RefusedError, match=message):
        load(str(root))


def test_every_problem_is_listed(root: pathlib.Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["name"] = None
        del value["order"]
        value["shards"][2]["tar"]["sha256"] = "x"

    edit(root, change)
    with pytest.raises(RefusedError) as caught:
        load(str(root))
    lines = str(caught.value).splitlines()
    assert [line.split()[1] for line in lines] == ["name:", "order:", "shards[2].tar:"]


def test_one_path_twice_is_refused(root: pathlib.Path) -> None:
    edit(root, set_value("files", 0, "path", "shards/00000001.tar"))
    with pytest.raises(RefusedError, match=r"listed twice: found shards/00000001\.tar"):
        load(str(root))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"revision":0', '"revision":0,"revision":1', "the key occurs twice"),
        ('"revision":0', '"revision":NaN', "is not a JSON number: found NaN"),
        ('"revision":0', '"revision":-Infinity', "is not a JSON number: found -Infinity"),
        ('"schema_version":1', '"schema_version":2', "schema_version 2: this openwit reads"),
        ('"schema_version":1', '"schema_version":true', "schema_version True"),
        ('"kind":"openwit-manifest"', '"kind":"x"', '"kind" is not "openwit-manifest"'),
        ("{", "", "not JSON"),
        ("{\n", "[" * 100_000, "not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_refused(
    root: pathlib.Path, old: str, new: str, message: str
) -> None:
    path = root / "manifest.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RefusedError, match=message):
        load(str(root))


def test_a_missing_root_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        RefusedError, match=r"manifest\.json: no such file: name a dataset's folder"
    ):
        load(str(tmp_path))


def test_an_inconsistent_manifest_is_not_committed(make_dataset: MakeDataset) -> None:
    manifest = make_dataset(5)
    before = pathlib.Path(manifest.root, "manifest.json").read_bytes()
    wrong = dataclasses.replace(manifest, shards=manifest.shards * 2)
    with pytest.raises(OpenwitError, match="nothing was written"):
        commit(manifest.root, wrong)
    assert pathlib.Path(manifest.root, "manifest.json").read_bytes() == before


def test_numbers_that_json_has_not_are_not_written(make_dataset: MakeDataset) -> None:
    manifest = dataclasses.replace(make_dataset(5), config={"x": math.nan})
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.to_bytes()
