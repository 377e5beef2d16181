import pathlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries.select import exact_threshold
from pipeline.engine.units import Source
from pipeline.selection import exact
from pipeline.selection.exact import bin_bits
from pipeline.selection.survivors import HASHES


def test_histograms_fit_in_their_memory() -> None:
    heads = [1, 1750, 8192, 8193, 160_000, 500_000, 10**7]
    assert [1 << bin_bits(each) for each in heads] == [1024, 1024, 1024, 512, 32, 16, 16]


@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(5, 9), min_size=3), min_size=1),
    st.data(),
)
def test_the_bin_holds_the_hash_at_the_cap(values: list[list[int]], data: st.DataObject) -> None:
    caps = [data.draw(st.integers(1, len(each) - 1)) for each in values]
    heads = np.repeat(np.arange(len(values)), [len(each) for each in values])
    u = np.array([value for each in values for value in each], np.uint64)
    order = np.array(data.draw(st.permutations(range(len(u)))))
    reads = [(heads[order].astype(np.int32), u[order])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_read", lambda *_: reads)
        bits = data.draw(st.integers(1, 5))
        wanted, left = exact._wanted_bins(None, None, np.array(caps), bits)  # type: ignore[arg-type]
        found, hashes = exact._collect(None, None, wanted, bits)  # type: ignore[arg-type]
    for head, (each, cap) in enumerate(zip(values, caps, strict=True)):
        at_cap = sorted(each)[cap - 1]
        assert hashes[found == head].tolist()[left[head] - 1] == at_cap
        if sorted(each)[cap] != at_cap:
            assert exact_threshold(sorted(each), cap) == at_cap


def test_hashes_are_read_in_their_order(tmp_path: pathlib.Path) -> None:
    table = pa.table({"query_id": pa.array([1] * 9, pa.int32()), "u": range(9)}).cast(HASHES)
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(table, path)
    source = Source(role="more", path=str(path), name="a", bytes=1, sha256="", rows=9)
    reader = exact.HashReader((source, source))
    assert [reader.take(count).tolist() for count in (0, 4, 7, 0, 7)] == [
        [],
        [0, 1, 2, 3],
        [4, 5, 6, 7, 8, 0, 1],
        [],
        [2, 3, 4, 5, 6, 7, 8],
    ]
