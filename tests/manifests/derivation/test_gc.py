import os
import pathlib
from collections.abc import Callable

import pytest

from manifests.derivation.gc import collect, parse_age, strays
from manifests.format import Manifest
from manifests.inspection.verify import verify

MakeDataset = Callable[..., Manifest]


@pytest.fixture
def littered(make_dataset: MakeDataset) -> Manifest:
    manifest = make_dataset(8, 5)
    root = pathlib.Path(manifest.root)
    for name in ("shards/x.tmp-12", "shards/00000001-r1.tar", "ledger/old.parquet", "notes.txt"):
        (root / name).write_bytes(b"123")
    (root / "README.md").write_bytes(b"known")
    return manifest


def test_only_names_of_openwit_are_found(littered: Manifest) -> None:
    assert [(stray.path, stray.kind) for stray in strays(littered)] == [
        ("ledger/old.parquet", "superseded"),
        ("shards/00000001-r1.tar", "superseded"),
        ("shards/x.tmp-12", "temporary"),
    ]
    assert [stray.path for stray in strays(littered, everything=True)][1] == "notes.txt"


def test_deleting_leaves_the_dataset_and_names_of_others(
    littered: Manifest, in_process: None
) -> None:
    gone = collect(littered, strays(littered, everything=True))
    assert [stray.kind for stray in gone].count("other") == 0
    assert verify(littered.root).by_code == {"unlisted_file": 1}
    assert strays(littered) == []


def test_what_may_be_being_written_is_kept(littered: Manifest) -> None:
    old = pathlib.Path(littered.root, "ledger/old.parquet")
    os.utime(old, (1000, 1000))
    mtime = pathlib.Path(littered.root, "shards/x.tmp-12").stat().st_mtime
    found = strays(littered, older_than_seconds=3600, clock=lambda: mtime + 60)
    assert [stray.path for stray in collect(littered, found)] == ["ledger/old.parquet"]


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86_400), ("0s", 0), ("7d", 604_800)])
def test_ages_are_read(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w"])
def test_malformed_ages_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="as in 24h"):
        parse_age(text)
