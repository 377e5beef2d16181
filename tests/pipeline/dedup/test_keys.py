import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from filters.hashes.bands import wide_bands
from filters.hashes.perceptual import FLAT
from pipeline.dedup.keys import (
    PROBE_BYTES,
    PROBES,
    TRIMMED,
    band_buckets,
    count_slots,
    is_shared,
    node_probes,
    pass_tables,
    probe_rows,
    slot_bits,
    slots_of,
    without,
)
from pipeline.dedup.nodes import NODES

BANDS = wide_bands(16)


def make_nodes(rows: int, trimmed: int, text: int = 0) -> pa.RecordBatch:
    random = np.random.default_rng(2)
    columns = [
        [bytes([row]) * 20 for row in range(rows)],
        range(rows),
        [text] * rows,
        [random.bytes(64) for _ in range(rows)],
        [random.bytes(32) for _ in range(rows)],
        [2 * (row % 4) for row in range(rows)],
        [random.bytes(96) + b"\2" if row < trimmed else None for row in range(rows)],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, NODES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=NODES)


@pytest.mark.parametrize("skip", [0, 3])
def test_each_probe_is_sent_once_for_each_chosen_key(skip: int) -> None:
    nodes = make_nodes(9, 5).slice(skip)
    probes = node_probes(nodes, BANDS, flats=False)
    rows = probe_rows(nodes, probes, probes.emitted, 4).to_pylist()
    expected = []
    for node in nodes.to_pylist():
        each = [(node["hash"], node["chroma"], node["flags"])]
        if trim := node["trim"]:
            each.append((trim[:64], trim[64:96], trim[96] | TRIMMED))
        for bits, chroma, flags in each:
            keys, emitted = BANDS.of(np.frombuffer(bits, np.uint8).reshape(1, 64))
            for table in np.flatnonzero(emitted[0]).tolist():
                band = table << 32 | int(keys[0, table])
                place = {"unit": node["unit"], "home": 4, "text": 0}
                row = {"band": band, "rank": node["rank"], "flags": flags, "hash": bits}
                expected.append({**row, "chroma": chroma, **place})
    by = ("band", "rank", "flags")
    assert sorted(rows, key=lambda row: [row[name] for name in by]) == sorted(
        expected, key=lambda row: [row[name] for name in by]
    )


def test_a_text_changes_all_keys_by_its_first_four_bytes() -> None:
    plain, texted = (
        node_probes(make_nodes(4, 2, text), BANDS, flats=False) for text in (0, 0xABCD0123 << 32)
    )
    assert (plain.keys ^ texted.keys == 0xABCD0123).all()
    assert (plain.emitted == texted.emitted).all()


def test_flat_nodes_have_one_key_if_any() -> None:
    nodes = make_nodes(3, 0)
    flags = pa.array([FLAT, 0, FLAT], pa.uint8())
    nodes = nodes.set_column(5, NODES.field("flags"), flags)
    assert node_probes(nodes, BANDS, flats=False).emitted.sum(axis=1).tolist()[::2] == [0, 0]
    assert node_probes(nodes, BANDS, flats=True).emitted.sum(axis=1).tolist()[::2] == [1, 1]


def test_no_nodes_make_no_rows() -> None:
    nodes = make_nodes(0, 0)
    probes = node_probes(nodes, BANDS, flats=True)
    assert probe_rows(nodes, probes, probes.emitted, 0).num_rows == 0


def test_a_row_has_the_bytes_that_the_buckets_are_counted_with() -> None:
    sizes = [field.type.bit_width // 8 for field in PROBES]
    assert sum(sizes) == PROBE_BYTES


@pytest.mark.parametrize("tables", [16, 32, 20, 35, 4, 1])
@pytest.mark.parametrize("bits", [0, 3, 6, 12])
def test_buckets_hold_few_tables_and_even_ranges_of_spread_keys(tables: int, bits: int) -> None:
    table = np.repeat(np.arange(tables, dtype=np.uint64), 2048)
    band = table << np.uint64(32) | np.tile(np.arange(2048, dtype=np.uint64), tables)
    buckets = band_buckets(band, tables, 1 << bits)
    counts = np.bincount(buckets, minlength=1 << bits)
    assert len(counts) == 1 << bits
    if tables in (16, 32):
        assert counts.max() <= 1.5 * len(band) / len(counts) + 8
    coarse = band_buckets(band, tables, max(1, (1 << bits) // 2))
    assert (buckets // 2 == coarse).all() or bits == 0


@pytest.mark.parametrize("tables", [16, 35])
@pytest.mark.parametrize("passes", [1, 2, 8, 64])
def test_the_buckets_of_a_pass_hold_keys_of_its_tables_alone(tables: int, passes: int) -> None:
    buckets = 256
    keys = np.random.default_rng(1).integers(0, 1 << 32, 500, dtype=np.uint64)
    for table in range(tables):
        band = np.uint64(table << 32) | keys
        found = set((band_buckets(band, tables, buckets) // (buckets // passes)).tolist())
        asked = {
            number
            for number in range(passes)
            if table in range(tables)[pass_tables(tables, number, passes)]
        }
        assert found <= asked


@pytest.mark.parametrize("bits", [16, 20])
def test_a_slot_is_shared_if_two_hashes_of_any_batch_have_keys_in_it(bits: int) -> None:
    random = np.random.default_rng(bits)
    batches: list[NDArray[np.uint32]] = [
        random.integers(0, 200_000, size, dtype=np.uint32) for size in (0, 3000, 1, 5000)
    ]
    seen = np.zeros(1 << bits, np.uint8)
    for keys in batches:
        count_slots(seen, slots_of(keys, bits))
    slots = slots_of(np.concatenate(batches), bits)
    counts = np.bincount(slots, minlength=1 << bits)
    assert (is_shared(np.packbits(seen == 2), np.arange(1 << bits)) == (counts > 1)).all()


@pytest.mark.parametrize(
    ("probes", "bits"), [(0, 16), (1, 16), (16_384, 16), (16_385, 17), (1 << 30, 26)]
)
def test_there_are_four_slots_a_probe_within_bounds(probes: int, bits: int) -> None:
    assert slot_bits(probes) == bits


def test_keys_that_say_nothing_are_left_out_of_their_table() -> None:
    keys = np.array([[5, 5], [6, 5]], np.uint32)
    emitted = np.ones((2, 2), np.bool_)
    assert without(keys, emitted, [(0, 5)]).tolist() == [[False, True], [True, True]]
    assert emitted.all()
