import hashlib
import io
import pathlib
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.format import tar

MEMBERS = [
    ("000000000.jpg", b"A" * 1000),
    ("000000000.txt", b"a photo of a dog"),
    ("000000000.json", b"{}"),
    ("000000001.jpg", b"B" * 512),
    ("000000001.txt", "café".encode()),
    ("000000001.json", b"{}"),
]


def make_tar(members: list[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    file = io.BytesIO()
    writer = tar.TarWriter(file)
    offsets = [writer.add(name, data) for name, data in members]
    writer.close()
    return file.getvalue(), offsets


def test_a_header_has_the_bytes_of_the_specification() -> None:
    digest = hashlib.sha256(tar.header("000000000.jpg", 1000)).hexdigest()
    assert digest == "46fa46df899a78878aa52a88cbcb85cdbc53671e479ab602e73a2f4df44baa11"


def test_a_tar_has_the_bytes_of_the_specification() -> None:
    data, offsets = make_tar(MEMBERS)
    assert len(data) == 10_240
    assert offsets == [512, 2048, 3072, 4096, 5120, 6144]
    digest = hashlib.sha256(data).hexdigest()
    assert digest == "0b28a3e4a1655280530ec018289b2dfcd34f1e7e8da67837a38b939ebd8f5695"


@given(st.lists(st.binary(max_size=1500), max_size=20))
def test_tarfile_reads_what_we_write(contents: list[bytes]) -> None:
    members = [(f"{number:09d}.jpg", content) for number, content in enumerate(contents)]
    data, offsets = make_tar(members)
    assert len(data) % 10_240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        found = opened.getmembers()
        assert [member.name for member in found] == [name for name, _ in members]
        assert [member.offset_data for member in found] == offsets
        assert {(member.mode, member.uid, member.gid, member.mtime) for member in found} <= {
            (0o644, 0, 0, 0)
        }
        for member, content in zip(found, contents, strict=True):
            extracted = opened.extractfile(member)
            assert extracted is not None
            assert extracted.read() == content


def test_gnu_tar_reads_what_we_write(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(make_tar(MEMBERS)[0])
    done = subprocess.run(  # noqa: S603 (words of this file)
        ["tar", "-tvf", str(path)],  # noqa: S607 (the system's tar is the oracle)
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [name for name, _ in MEMBERS]
    assert done.stderr == ""


@given(st.from_regex(r"[a-z0-9]{1,20}\.jpg", fullmatch=True), st.integers(0, tar.MAX_MEMBER_BYTES))
def test_headers_are_read_back(name: str, size: int) -> None:
    assert tar.parse_header(tar.header(name, size)) == (name, size, b"0", True)


@given(st.binary(min_size=512, max_size=512))
def test_no_block_is_too_odd_to_parse(block: bytes) -> None:
    assert len(tar.parse_header(block)) == 4


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_changed_byte_breaks_the_checksum(place: int, change: int) -> None:
    block = bytearray(tar.header("000000000.jpg", 1000))
    block[place] ^= change
    name, size, _, is_whole = tar.parse_header(bytes(block))
    # Only the blanks around an octal number may change unseen.
    assert not is_whole or (name, size, place in range(148, 156)) == ("000000000.jpg", 1000, True)


@pytest.mark.parametrize(("name", "size"), [("", 1), ("a" * 101, 1), ("a\0b", 1), ("a", 8**11)])
def test_what_ustar_cannot_hold_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        tar.header(name, size)
