"""Files that list pair ids, and tables that add columns to them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.base import storage
from manifests.base.errors import RefusedError
from manifests.format.ids import HALVES

NPY_MAGIC = b"\x93NUMPY"
PARQUET_MAGIC = b"PAR1"


def read_ids(path: str, option: str = "--ids") -> pa.Array:
    """Read pair ids, sorted, each once: npy of `u8,u8`, Parquet with `pair_id`, or text.

    Args:
        path: path or URI; what it holds is told by its first bytes.
        option: how it was given, for messages.

    Returns:
        Ids in hexadecimal.

    Raises:
        RefusedError: if it cannot be read; of a text, each malformed line is listed.
    """
    try:
        with storage.open_read(path) as file:
            data = file.read()
        if data.startswith(NPY_MAGIC):
            ids = _from_npy(np.load(io.BytesIO(data), allow_pickle=False))
        elif data.startswith(PARQUET_MAGIC):
            ids = pq.read_table(pa.BufferReader(data), columns=["pair_id"])["pair_id"].to_pylist()
        else:
            return pa.array(_from_text(data), pa.string())
        return pa.array(sorted(set(map(_id, ids))), pa.string())
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise RefusedError(f"{option} {path}: {error}") from None


def _from_npy(values: np.ndarray[tuple[int, ...], np.dtype[np.void]]) -> list[str]:
    if values.dtype != HALVES:
        raise ValueError(f"the npy file must be of type u8,u8, got {values.dtype}")
    return [f"{high:016x}{low:016x}" for high, low in values.ravel().tolist()]


def _from_text(data: bytes) -> list[str]:
    ids, bad = set(), []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), start=1):
        try:
            if line.strip():
                ids.add(_id(line.strip()))
        except ValueError:
            bad.append(f"line {number}: {line[:60]!r}")
    if bad:
        more = f" and {len(bad) - 20} more" if len(bad) > 20 else ""
        raise ValueError(f"must hold ids of 32 hexadecimal digits, got {', '.join(bad[:20])}{more}")
    return sorted(ids)


def _id(text: str) -> str:
    if len(text) != 32 or not set(text.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"an id must be 32 hexadecimal digits, got {text[:60]!r}")
    return text.lower()


def _tables_of(path: str) -> list[str]:
    """Return the Parquet files of a folder, by name, or the path of a file."""
    if storage.size_bytes(path) is not None:
        return [path]
    names = [name for name in storage.list_files(path) if name.endswith(".parquet")]
    if not names:
        raise RefusedError(f"--with {path}: no Parquet file, and no folder of such files")
    return [storage.join(path, name) for name in names]


def _read_table(path: str) -> pa.Table:
    with storage.open_read(path) as file:
        return pq.read_table(file).replace_schema_metadata()


class Extra:
    """Columns of another table, by pair id, such as the scores of `openwit-train score`."""

    def __init__(self, path: str) -> None:
        """Read a Parquet file with `pair_id` and other columns, or a folder of such files.

        A column `key` says where a pair was in the dataset that the table is of: it is left out.

        Raises:
            RefusedError: if it cannot be read, or an id is in it twice.
        """
        self.paths = _tables_of(path)
        try:
            table = pa.concat_tables(map(_read_table, self.paths)).sort_by("pair_id")
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise RefusedError(f"--with {path}: {error}") from None
        self._table = table.drop_columns([each for each in ("key",) if each in table.column_names])
        self._ids = self._table["pair_id"].combine_chunks()
        if len(self._ids) != len(self._ids.unique()):
            raise RefusedError(f"--with {path}: a pair_id is listed twice")
        self.schema = self._table.drop_columns(["pair_id"]).schema

    def joined(self, table: pa.Table) -> pa.Table:
        """Return rows with the columns; null where an id is not listed."""
        places = pc.index_in(table["pair_id"].combine_chunks(), value_set=self._ids)
        for name in self.schema.names:
            table = table.append_column(name, self._table[name].take(places))
        return table
