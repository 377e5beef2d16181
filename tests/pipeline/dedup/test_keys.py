import numpy as np
import pyarrow as pa
import pytest

from filters.hashes.bands import band_keys
from pipeline.dedup.keys import PROBE_BYTES, PROBES, TRIMMED, band_buckets, probe_rows
from pipeline.dedup.nodes import NODES


def make_nodes(rows: int, trimmed: int) -> pa.RecordBatch:
    random = np.random.default_rng(2)
    columns = [
        [bytes([row]) * 20 for row in range(rows)],
        range(rows),
        [random.bytes(64) for _ in range(rows)],
        [random.bytes(32) for _ in range(rows)],
        [row % 8 for row in range(rows)],
        [random.bytes(96) + b"\2" if row < trimmed else None for row in range(rows)],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, NODES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=NODES)


@pytest.mark.parametrize("skip", [0, 3])
def test_each_probe_is_sent_once_for_each_key_it_emits(skip: int) -> None:
    nodes = make_nodes(9, 5).slice(skip)
    rows = probe_rows(nodes, 4, 16).to_pylist()
    expected = []
    for node in nodes.to_pylist():
        probes = [(node["hash"], node["chroma"], node["flags"])]
        if trim := node["trim"]:
            probes.append((trim[:64], trim[64:96], trim[96] | TRIMMED))
        for bits, chroma, flags in probes:
            keys, emitted = band_keys(np.frombuffer(bits, np.uint8).reshape(1, 64))
            for table in np.flatnonzero(emitted[0]).tolist():
                band = table << 32 | int(keys[0, table])
                place = {"unit": node["unit"], "home": 4}
                row = {"band": band, "rank": node["rank"], "flags": flags, "hash": bits}
                expected.append({**row, "chroma": chroma, **place})
    by = ("band", "rank", "flags")
    assert sorted(rows, key=lambda row: [row[name] for name in by]) == sorted(
        expected, key=lambda row: [row[name] for name in by]
    )


def test_no_nodes_make_no_rows() -> None:
    assert probe_rows(make_nodes(0, 0), 0, 16).num_rows == 0


def test_a_row_has_the_bytes_that_the_buckets_are_counted_with() -> None:
    sizes = [field.type.bit_width // 8 for field in PROBES]
    assert sum(sizes) == PROBE_BYTES


@pytest.mark.parametrize("tables", [16, 32])
@pytest.mark.parametrize("bits", [0, 3, 6, 12])
def test_buckets_hold_few_tables_and_even_ranges_of_spread_keys(tables: int, bits: int) -> None:
    table = np.repeat(np.arange(tables, dtype=np.uint64), 2048)
    band = table << np.uint64(32) | np.tile(np.arange(2048, dtype=np.uint64), tables)
    buckets = band_buckets(band, tables, 1 << bits)
    counts = np.bincount(buckets, minlength=1 << bits)
    assert len(counts) == 1 << bits
    mean = len(band) / len(counts)
    assert counts.max() <= 1.5 * mean + 8
    coarse = band_buckets(band, tables, max(1, (1 << bits) // 2))
    assert (buckets // 2 == coarse).all() or bits == 0
