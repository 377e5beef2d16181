import hashlib
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base import storage
from manifests.base.errors import RefusedError


def test_a_file_appears_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    def fail() -> None:
        with storage.new_file(str(tmp_path)) as file:
            file.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []
    storage.write_atomic(str(tmp_path / "a"), b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_new_file_knows_its_size_and_digest(tmp_path: pathlib.Path) -> None:
    with storage.new_file(str(tmp_path / "deep" / "er")) as file:
        file.write(b"abc")
        file.write(b"def")
        assert (file.bytes, file.sha256) == (6, hashlib.sha256(b"abcdef").hexdigest())
        file.publish(str(tmp_path / "deep" / "er" / "a"))
    assert storage.sha256_of(str(tmp_path / "deep/er/a")) == file.sha256


@given(
    ranges=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), max_size=12),
    gap=st.integers(0, 50),
)
def test_coalesced_reads_give_what_single_reads_give(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[tuple[int, int]], gap: int
) -> None:
    data = bytes(range(100))
    path = tmp_path_factory.getbasetemp() / "hundred"
    path.write_bytes(data)
    found = storage.read_ranges(str(path), ranges, gap_bytes=gap)
    assert found == [data[offset : offset + length] for offset, length in ranges]


def test_far_ranges_are_not_read_together(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 33)
        file.write(b"end")
    assert storage.read_ranges(str(path), [(1 << 33, 3), (0, 2)]) == [b"end", b"\0\0"]


def test_uris_are_read_and_written_through_fsspec() -> None:
    storage.write_atomic("memory://data/a/b.txt", b"hello")
    assert storage.size_bytes("memory://data/a/b.txt") == 5
    assert storage.size_bytes("memory://data/a") is None
    assert storage.list_files("memory://data") == {"a/b.txt": 5}
    assert storage.sha256_of("memory://data/a/b.txt") == hashlib.sha256(b"hello").hexdigest()
    assert storage.read_ranges("memory://data/a/b.txt", [(1, 3)]) == [b"ell"]
    assert not storage.is_empty("memory://data")
    assert storage.is_empty("memory://other")


def test_a_uri_that_nothing_here_can_open_is_refused() -> None:
    with pytest.raises(RefusedError, match="nosuch://a/b: cannot be reached: Protocol not known"):
        storage.size_bytes("nosuch://a/b")


def test_a_link_on_the_way_is_found(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("x")
    (tmp_path / "linked").symlink_to("real")
    assert storage.link_on_the_way(str(tmp_path), "linked/a") == "linked"
    assert storage.link_on_the_way(str(tmp_path), "real/a") is None


@pytest.mark.parametrize(
    ("folder", "joined"), [("a", "a/b"), ("a/", "a/b"), ("s3://x/", "s3://x/b"), (".", "./b")]
)
def test_names_are_joined_with_one_slash(folder: str, joined: str) -> None:
    assert storage.join(folder, "b") == joined


def test_nothing_is_written_through_a_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "shards").symlink_to(tmp_path / "elsewhere")
    storage.refuse_link(str(tmp_path / "root"), "ledger/a.parquet")
    with pytest.raises(RefusedError, match=r"root/shards: a symbolic link"):
        storage.refuse_link(str(tmp_path / "root"), "shards/a/b.tar")
