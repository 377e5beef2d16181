import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import OpenwitError, RefusedError
from manifests.derivation.split import PERSON, Part, bounds, parse_part, split
from manifests.format import Manifest, load
from manifests.format.ids import host_of, keyed_uniform
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]
PARTS = [Part("train", "0.7"), Part("test", "0.3")]
FIRST = bytes.fromhex("5836a3eecff53951d31311f58fb160f1")


def column(manifest: Manifest, name: str) -> list[Any]:
    tables = [manifest.reader(shard).table([name]) for shard in manifest.shards]
    return [value for table in tables for value in table[name].to_pylist()]


def test_the_keyed_hash_is_that_of_the_specification() -> None:
    assert keyed_uniform(0, FIRST, PERSON) == 0x4BC6CC472738C345
    assert keyed_uniform(0, FIRST, b"openwit.m.sample") == 0x28AA690D8F8FF436


def test_bounds_are_exact() -> None:
    assert bounds([Part("a", "0.1"), Part("b", "0.2"), Part("c", "0.7")]) == [
        2**64 // 10,
        2**64 * 3 // 10,
        2**64,
    ]


def test_every_pair_is_in_exactly_one_part(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(40, 7)
    made = split(source.root, str(tmp_path / "out"), PARTS)
    ids = [set(column(part, "pair_id")) for part in made.values()]
    assert ids[0] | ids[1] == set(column(source, "pair_id"))
    assert not ids[0] & ids[1]
    assert all(ids)


def test_parts_are_whole_datasets(
    make_dataset: MakeDataset, tmp_path: pathlib.Path, in_process: None
) -> None:
    source = make_dataset(40, 7)
    for name, part in split(source.root, str(tmp_path / "out"), PARTS).items():
        root = str(tmp_path / "out" / name)
        assert load(root) == part
        assert verify(root, "deep").by_code == {}
        assert part.name == f"toy-{name}"
        assert part.parents == (
            {
                "digest": source.digest,
                "name": "toy",
                "version": "1",
                "op": "split",
                "params": {
                    "part": name,
                    "parts": {"train": "0.7", "test": "0.3"},
                    "seed": 0,
                    "by": "pair_id",
                },
            },
        )
        assert [shard.samples for shard in part.shards][:-1] == [7] * (len(part.shards) - 1)


def test_members_and_rows_are_copied_as_they_are(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(20, 6)
    before = {}
    for shard in source.shards:
        reader = source.reader(shard)
        members = [reader.read(range(shard.samples), kind) for kind in ("image", "text", "json")]
        for row, *data in zip(reader.table().to_pylist(), *members, strict=True):
            before[row["pair_id"]] = (row["caption"], row["alternates"], row["query_ids"], data)
    for part in split(source.root, str(tmp_path / "out"), PARTS).values():
        for shard in part.shards:
            reader = part.reader(shard)
            members = [
                reader.read(range(shard.samples), kind) for kind in ("image", "text", "json")
            ]
            for row, *data in zip(reader.table().to_pylist(), *members, strict=True):
                expected = (row["caption"], row["alternates"], row["query_ids"], data)
                assert before[row["pair_id"]] == expected


def test_the_whole_as_one_part_has_the_bytes_of_the_source(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(20, 6)
    made = split(source.root, str(tmp_path / "out"), [Part("all", "1")])
    assert made["all"].digest == source.digest


def test_pairs_of_one_host_stay_together(make_dataset: MakeDataset, tmp_path: pathlib.Path) -> None:
    source = make_dataset(40, 7)
    made = split(source.root, str(tmp_path / "out"), PARTS, by="host", seed=5)
    hosts = [{host_of(url) for url in column(part, "url")} for part in made.values()]
    assert not hosts[0] & hosts[1]


def test_a_pair_without_the_value_goes_by_its_id(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(20, 7)
    by_id = split(source.root, str(tmp_path / "a"), PARTS)
    by_cluster = split(source.root, str(tmp_path / "b"), PARTS, by="cluster_id")
    assert [part.digest for part in by_id.values()] == [part.digest for part in by_cluster.values()]


def test_another_seed_gives_another_split(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(20, 7)
    digests = {
        split(source.root, str(tmp_path / str(seed)), PARTS, seed=seed)["test"].digest
        for seed in (0, 1, 0)
        if not (tmp_path / str(seed)).exists()
    }
    assert len(digests) == 2


def test_an_empty_part_is_a_dataset(
    make_dataset: MakeDataset, tmp_path: pathlib.Path, in_process: None
) -> None:
    parts = [Part("all", "0.999999999999"), Part("none", "0.000000000001")]
    made = split(make_dataset(5).root, str(tmp_path / "out"), parts)
    assert made["none"].samples == 0
    assert verify(made["none"].root, "deep").by_code == {}


@pytest.mark.parametrize(
    "text",
    ["a", "=1", "a=0", "a=1.5", "a=nan", "a=1e-3", "../a=1", ".a=1", "a/b=1", "a=-1", "=", ""],
)
def test_malformed_parts_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="--part"):
        parse_part(text)


@given(st.integers(1, 10**12))
def test_shares_are_read_exactly(number: int) -> None:
    share = f"0.{number:013d}"
    assert bounds([parse_part(f"a={share}"), Part("b", f"0.{10**13 - number:013d}")])[0] == (
        number * 2**64 // 10**13
    )


@pytest.mark.parametrize("shares", [["0.5", "0.4"], ["0.5", "0.6"], ["0.1"] * 9, []])
def test_shares_that_do_not_sum_to_one_are_refused(shares: list[str]) -> None:
    with pytest.raises(RefusedError, match="not sum to exactly 1"):
        bounds([Part(str(number), share) for number, share in enumerate(shares)])


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(RefusedError, match="a name occurs twice"):
        bounds([Part("a", "0.5"), Part("a", "0.5")])


def test_an_output_that_is_not_empty_or_inside_the_source_is_refused(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(5)
    with pytest.raises(RefusedError, match="is not empty"):
        split(source.root, str(tmp_path), PARTS)
    with pytest.raises(RefusedError, match="lies inside the dataset"):
        split(source.root, f"{source.root}/new", PARTS)


def test_a_damaged_image_stops_the_split_without_a_manifest(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(5)
    path = pathlib.Path(source.reader(source.shards[0]).tar_path)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(OpenwitError, match="sample 000000000: sha256"):
        split(source.root, str(tmp_path / "out"), [Part("all", "1")])
    assert not list((tmp_path / "out").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.com:80/x", "example.com"),
        ("https://u:p@h.example?x=@y", "h.example"),
        ("http://[::1]:8080/x", "[::1]"),
        ("urn:sha256:ab", None),
        (None, None),
        ("http://", None),
    ],
)
def test_hosts_are_read_from_canonical_urls(url: str | None, host: str | None) -> None:
    assert host_of(url) == host
