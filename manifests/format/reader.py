"""Reads one shard: columns of its Parquet file, and members of its tar by offset."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import OpenwitError
from manifests.format.records import DEEP, Finding, Level, ShardRecord, StoredFile
from manifests.format.schema import OFFSET_COLUMNS, describe

Member = Literal["image", "text", "json"]


class ShardReader:
    """Samples of one shard; every call opens the files it needs and closes them."""

    def __init__(
        self,
        root: str,
        shard: ShardRecord,
        *,
        schema: Sequence[Mapping[str, Any]] | None = None,
        tars: str = "",
    ) -> None:
        """Read `shard` of the dataset in the folder `root`.

        Args:
            root: folder or URI.
            shard: what its root lists.
            schema: the columns that its root promises.
            tars: where the tar is, if that is another folder.
        """
        self.root = root
        self._tars = tars or root
        self.shard = shard
        self.schema = schema
        self._offsets: pa.Table | None = None

    @property
    def tar_path(self) -> str:
        """Where the tar is."""
        return storage.join(self._tars, self.shard.tar.path)

    @property
    def parquet_path(self) -> str:
        """Where the Parquet file is."""
        return storage.join(self.root, self.shard.parquet.path)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns (default: all) of every sample, in the order of the tar.

        Raises:
            OpenwitError: if the file cannot be read, or lacks rows or a column.
        """
        try:
            with storage.open_read(self.parquet_path) as file:
                parquet = pq.ParquetFile(file)
                if columns is not None:
                    _require(parquet.schema_arrow, columns, self.parquet_path)
                rows = parquet.metadata.num_rows
                if rows != self.shard.samples:
                    raise OpenwitError(
                        f"{self.parquet_path}: {rows} rows, the manifest says "
                        f"{self.shard.samples}: copy it again"
                    )
                table = parquet.read(None if columns is None else list(columns))
                # `read` returns columns in the order of the file.
                return table if columns is None else table.select(list(columns))
        except (OSError, pa.ArrowException) as error:
            raise OpenwitError(f"{self.parquet_path}: cannot be read: {error}") from error

    def read(self, rows: Sequence[int], member: Member = "image") -> list[bytes]:
        """Return a member of the given samples with few reads.

        Args:
            rows: positions in the shard, from 0, in any order.
            member: which file of the sample; a sample without JSON gives b"".

        Raises:
            OpenwitError: if the tar cannot be read or ends before a member does.
            IndexError: if a row is not in the shard.
        """
        if self._offsets is None:
            self._offsets = self.table(OFFSET_COLUMNS)
        wanted = pa.array(rows, pa.int64())
        offsets = _column(self._offsets, f"{member}_offset", wanted)
        lengths = _column(self._offsets, f"{member}_bytes", wanted)
        found = self.read_ranges(list(zip(offsets.tolist(), lengths.tolist(), strict=True)))
        for data, offset, length in zip(found, offsets, lengths, strict=True):
            if len(data) != length:
                raise OpenwitError(
                    f"{self.tar_path}: {len(data)} bytes at offset {offset}, the Parquet file says "
                    f"{length}: copy the tar again, or run openwit-manifest verify"
                )
        return found

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return (offset, length) ranges of the tar; a range past its end comes back short.

        Raises:
            OpenwitError: if the tar cannot be read.
        """
        if any(offset < 0 or length < 0 for offset, length in ranges):
            raise OpenwitError(f"{self.tar_path}: a negative offset or length: run verify --deep")
        try:
            return storage.read_ranges(self.tar_path, ranges)
        except OSError as error:
            raise OpenwitError(f"{self.tar_path}: cannot be read: {error}") from error

    def check(self, level: Level = "sha256") -> list[Finding]:
        """Compare the shard's files with its record.

        Args:
            level: `fast` looks at existence and sizes; `sha256` also reads both files and the
                Parquet footer; `deep` also looks at every sample (`manifests.format.checks`),
                `hashes` also at its perceptual hash, taken of the stored image.
        """
        if level in DEEP:
            from manifests.format.checks.samples import check_samples

            return check_samples(self, basis="stored" if level == "hashes" else "").findings
        findings = self._check_size(self.shard.tar) + self._check_size(self.shard.parquet)
        if level == "fast":
            return findings
        missing = {finding.path for finding in findings if finding.code == "missing_file"}
        for file in (self.shard.tar, self.shard.parquet):
            if file.path not in missing:
                findings += self.check_sha256(file)
        return findings + ([] if self.shard.parquet.path in missing else self.check_footer())

    def check_footer(self) -> list[Finding]:
        """Compare the rows and columns that the Parquet footer tells with what is promised."""
        file = self.shard.parquet
        try:
            with storage.open_read(self.parquet_path) as opened:
                parquet = pq.ParquetFile(opened)
                rows, found = parquet.metadata.num_rows, describe(parquet.schema_arrow)
        except (OSError, pa.ArrowException) as error:
            return [self.finding("unreadable_parquet", file, str(error)[:200])]
        findings = []
        if rows != self.shard.samples:
            message = "another number of rows"
            findings = [self.finding("count_mismatch", file, message, self.shard.samples, rows)]
        if self.schema is not None and found != list(self.schema):
            differing = [column["name"] for column in found if column not in self.schema]
            differing += [column["name"] for column in self.schema if column not in found]
            message = f"other columns than the manifest says: {sorted(set(map(str, differing)))}"
            findings.append(self.finding("schema_mismatch", file, message[:500]))
        return findings

    def finding(
        self,
        code: str,
        file: StoredFile,
        message: str,
        expected: object = "",
        actual: object = "",
        key: str = "",
    ) -> Finding:
        """Return a finding at one of the shard's files."""
        return Finding(
            code=code,
            message=message,
            path=file.path,
            shard=self.shard.id,
            key=key,
            expected=str(expected),
            actual=str(actual),
        )

    def _check_size(self, file: StoredFile) -> list[Finding]:
        size = storage.size_bytes(storage.join(self.root, file.path))
        if size is None:
            return [self.finding("missing_file", file, "no such file")]
        if size == file.bytes:
            return []
        return [self.finding("size_mismatch", file, "another number of bytes", file.bytes, size)]

    def check_sha256(self, file: StoredFile) -> list[Finding]:
        """Compare a file's content with its recorded digest."""
        try:
            is_tar = file is self.shard.tar
            found = storage.sha256_of(self.tar_path if is_tar else self.parquet_path)
        except OSError as error:
            return [self.finding("unreadable_file", file, str(error)[:200])]
        if found == file.sha256:
            return []
        return [self.finding("sha256_mismatch", file, "another content", file.sha256, found)]


def _require(schema: pa.Schema, columns: Sequence[str], path: str) -> None:
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise OpenwitError(
            f"{path}: has no column {', '.join(missing)}: it is not a shard of openwit"
        )


def _column(
    table: pa.Table, name: str, rows: pa.Array
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    values = table[name].take(rows).cast(pa.int64()).fill_null(0)
    return values.to_numpy()
