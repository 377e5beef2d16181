"""One pass over a tar, from its first byte to its last, whatever its headers say.

Everything read here may be hostile: nothing is extracted, and sizes are compared with the file
before they are believed.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa

from manifests.base import storage
from manifests.format import tar
from manifests.format.checks.hashes import hash_problem
from manifests.format.checks.members import decode_problem, differing_keys
from manifests.format.ids import pair_id
from manifests.format.naming import IMAGE_EXT
from manifests.format.reader import ShardReader
from manifests.format.records import Finding
from manifests.format.schema import json_members

SKIP_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class _Expected:
    """A member that a row promises."""

    row: int
    kind: str
    name: str
    size: int
    offset: int


class TarPass:
    """Compares a tar with the rows of its shard."""

    def __init__(
        self,
        reader: ShardReader,
        rows: pa.RecordBatch | None,
        file: IO[bytes],
        *,
        skip: frozenset[int],
        basis: str,
        progress: Callable[[int], None],
    ) -> None:
        """Prepare to read `file`, the tar of a shard; `rows` is None if they cannot be read."""
        self.findings: list[Finding] = []
        self._reader = reader
        self._file = file
        self._skip = skip
        self._basis = basis
        self._progress = progress
        self._size = storage.size_bytes(reader.tar_path) or 0
        self._digest = hashlib.sha256()
        self._at = 0
        self._rows = [] if rows is None else rows.to_pylist()
        self._jsons = [] if rows is None else json_members(rows)
        self._members = _expected(self._rows)
        self._place = {member.name: number for number, member in enumerate(self._members)}
        self._next = 0
        self._passed: set[int] = set()
        self._seen: set[str] = set()
        self._edited: set[int] = set()
        self._intact = True
        """Whether members stood in their order so far; offsets are compared only then."""

    def run(self) -> None:
        """Read everything and add what is wrong."""
        whole = self._walk()
        while block := self._file.read(SKIP_BYTES):
            self._digest.update(block)
            self._at += len(block)
        shard_file = self._reader.shard.tar
        damaged = self._digest.hexdigest() != shard_file.sha256
        if damaged:
            self._add(
                "sha256_mismatch", "another content", shard_file.sha256, self._digest.hexdigest()
            )
        absent = len(self._passed) + len(self._members) - self._next
        if whole and absent and self._rows:
            found = len(self._members) - absent
            self._add("count_mismatch", "members are missing", len(self._members), found)
        # A caption edited on purpose comes with the right digest of its file.
        for row in sorted(self._edited):
            code = "text_mismatch" if damaged else "caption_mismatch"
            self._add(code, "the text member is not the caption of its row", key=self._key(row))
        for row in range(len(self._rows)):
            values = self._rows[row]
            proven = pair_id(values["url"], values["caption"]).hex()
            if row not in self._edited and proven != values["pair_id"]:
                message = "is not the id of its url and caption"
                self._add("pair_id_mismatch", message, proven, values["pair_id"], self._key(row))

    def _walk(self) -> bool:
        """Read members up to the end of the archive; False if the file ends before."""
        while True:
            block = self._read(tar.BLOCK)
            if len(block) < tar.BLOCK:
                self._add("truncated_tar", "the file ends within the archive", actual=self._at)
                return False
            if not any(block):
                self._check_end()
                return True
            step = self._member(block)
            if step is not None:
                return step

    def _member(self, block: bytes) -> bool | None:
        """Read one member; None to go on, else what `_walk` returns."""
        expected = self._members[self._next] if self._next < len(self._members) else None
        if expected is not None and block == tar.header(expected.name, expected.size):
            self._next += 1
            return None if self._content(expected, expected.size) else False
        name, size, kind, is_whole = tar.parse_header(block)
        if not is_whole:
            if expected is None:
                code = "header_mismatch" if not self._rows else "padding_mismatch"
                self._add(code, f"no header and no end at offset {self._at - tar.BLOCK}")
                return True
            self._add("header_mismatch", "the header is damaged", key=self._key(expected.row))
            self._next += 1
            return None if self._content(expected, expected.size) else False
        number = self._place.get(name)
        if kind != b"0" or name in self._seen or (number is None and self._rows):
            self._intact = False
            message = f"a member of type {kind!r} and name {name[:100]!r} is not expected here"
            self._add("unexpected_member", message, key=name[:100])
            return None if self._skip_bytes(size) else False
        self._seen.add(name)
        if number is None:
            return None if self._skip_bytes(size) else False
        return None if self._content(self._locate(number, size), size) else False

    def _locate(self, number: int, size: int) -> _Expected:
        """Return the promised member of that place, and note what its place says."""
        member = self._members[number]
        if number == self._next:
            message = "the header is not the one openwit writes"
            self._add("header_mismatch", message, member.size, size, self._key(member.row))
            self._next += 1
            return member
        self._intact = False
        if number in self._passed:
            self._passed.discard(number)
            self._add("order", "the member stands too late", key=self._key(member.row))
        else:
            self._passed.update(range(self._next, number))
            self._next = number + 1
        return member

    def _content(self, member: _Expected, size: int) -> bool:
        """Read a member's bytes and compare them with its row; False if the file ends before."""
        self._seen.add(member.name)
        if self._intact and member.offset != self._at:
            message = f"the recorded offset of the {member.kind} is wrong"
            self._add("offset_mismatch", message, self._at, member.offset, self._key(member.row))
        if size > self._size - self._at:
            self._add("truncated_tar", "the file ends within a member", key=self._key(member.row))
            return False
        data = self._read(size)
        if any(self._read(tar.padded(size) - size)):
            message = "the bytes after a member are not zero"
            self._add("padding_mismatch", message, key=self._key(member.row))
        {"image": self._image, "text": self._text, "json": self._json}[member.kind](member, data)
        return True

    def _image(self, member: _Expected, data: bytes) -> None:
        row = self._rows[member.row]
        found = hashlib.sha256(data).hexdigest()
        if found != row["sha256"]:
            self._add(
                "image_mismatch", "another image", row["sha256"], found, self._key(member.row)
            )
            return
        if member.row in self._skip:
            return
        self._progress(member.row)
        code, message = decode_problem(data, row)
        if not code and self._basis:
            code, message = hash_problem(data, row, self._basis)
        self._progress(-1)
        if code:
            self._add(code, message, key=self._key(member.row))

    def _text(self, member: _Expected, data: bytes) -> None:
        if data != self._rows[member.row]["caption"].encode():
            self._edited.add(member.row)

    def _json(self, member: _Expected, data: bytes) -> None:
        expected = self._jsons[member.row]
        # A foreign sample keeps the JSON that came with it, whatever that says.
        if data == expected or self._rows[member.row]["image_source"] == "foreign":
            return
        different = differing_keys(data, expected)
        if member.row in self._edited:
            # The text member already told this one.
            different.discard("caption")
        if different:
            message = f"the JSON member is not that of its row: {', '.join(sorted(different))}"
            self._add("json_mismatch", message[:300], key=self._key(member.row))

    def _check_end(self) -> None:
        """Read the rest of the file: zeros, up to a whole record."""
        expected = tar.total_bytes(self._at - tar.BLOCK)
        clean = True
        while block := self._read(SKIP_BYTES):
            clean = clean and not any(block)
        if not clean or self._at != expected:
            message = "the archive does not end as it should"
            self._add("padding_mismatch", message, f"{expected} bytes", f"{self._at} bytes")

    def _skip_bytes(self, size: int) -> bool:
        left = tar.padded(size)
        if left > self._size - self._at:
            self._add("truncated_tar", "the file ends within a member", actual=self._at)
            return False
        while left:
            left -= len(self._read(min(left, SKIP_BYTES)))
        return True

    def _read(self, count: int) -> bytes:
        data = self._file.read(min(count, max(0, self._size - self._at)))
        self._digest.update(data)
        self._at += len(data)
        return data

    def _key(self, row: int) -> str:
        return str(self._rows[row]["key"])

    def _add(
        self, code: str, message: str, expected: object = "", actual: object = "", key: str = ""
    ) -> None:
        finding = self._reader.finding(code, self._reader.shard.tar, message, expected, actual, key)
        self.findings.append(finding)


def _expected(rows: list[dict[str, Any]]) -> list[_Expected]:
    members = []
    for number, row in enumerate(rows):
        for kind, ext in (("image", IMAGE_EXT), ("text", "txt"), ("json", "json")):
            offset, size = row[f"{kind}_offset"], row[f"{kind}_bytes"]
            if offset is not None and size is not None and 0 <= size <= tar.MAX_MEMBER_BYTES:
                members.append(_Expected(number, kind, f"{row['key'][:90]}.{ext}", size, offset))
    return members
