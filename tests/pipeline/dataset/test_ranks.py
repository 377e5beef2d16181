import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.ranks import MAX_PREFIX_BITS, Ranks, prefix_bits
from pipeline.engine.steps import top_bits


def make_ids(count: int, skew: int) -> list[bytes]:
    """Ascending ids; with `skew` many of them share their first byte."""
    digests = [hashlib.sha256(bytes([n % 256, n // 256])).digest()[:16] for n in range(count)]
    return sorted(b"\x42" + each[1:] if n % 10 < skew else each for n, each in enumerate(digests))


def make_ranks(ids: list[bytes], per_shard: int) -> Ranks:
    bits = prefix_bits(-(-len(ids) // per_shard))
    prefixes = top_bits(pa.array(ids, pa.binary(16)), 1 << bits)
    counts = np.bincount(prefixes, minlength=1 << bits)
    return Ranks(bits, np.concatenate([[0], np.cumsum(counts)]), per_shard)


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 10))
def test_each_shard_is_sent_the_rows_it_keeps(count: int, per_shard: int, skew: int) -> None:
    ids = make_ids(count, skew)
    ranks = make_ranks(ids, per_shard)
    first, last = ranks.shard_range(pa.array(ids, pa.binary(16)))
    for shard in range(ranks.shards):
        sent = [rank for rank in range(count) if first[rank] <= shard <= last[rank]]
        assert sent == list(ranks.sent(shard))
        assert set(ranks.kept(shard)) <= set(sent)
    kept = [rank for shard in range(ranks.shards) for rank in ranks.kept(shard)]
    assert kept == list(range(count))


def test_few_rows_are_sent_twice() -> None:
    ids = make_ids(3000, 0)
    ranks = make_ranks(ids, 100)
    first, last = ranks.shard_range(pa.array(ids, pa.binary(16)))
    assert (last - first + 1).sum() <= 1.2 * len(ids)


def test_no_rows_make_no_shard() -> None:
    ranks = Ranks(1, np.zeros(3, np.int64), 10)
    assert (ranks.rows, ranks.shards) == (0, 0)
    assert len(ranks.sent(0)) == len(ranks.kept(0)) == 0


@pytest.mark.parametrize(
    ("shards", "bits"), [(0, 1), (1, 3), (2, 4), (3, 5), (40_000, 19), (10**6, MAX_PREFIX_BITS)]
)
def test_there_are_eight_prefixes_a_shard(shards: int, bits: int) -> None:
    assert prefix_bits(shards) == bits
