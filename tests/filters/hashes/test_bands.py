import numpy as np
import pytest

from filters.hashes.bands import Bands, short_bands, wide_bands

# W(300,200), the made-up image of the hash record's golden values.
DHASH = "bd5f7fbfffffbf5f58afbc5ffe7f7e7ffe5f7aafbc5ffcff7bbfbd5f7eafffff"
PHASH = "86e03d55391f45d4c0e45711c7033d54391c554038e44500c4417fffcf3f7fff"
GOLDEN = np.frombuffer(bytes.fromhex(DHASH + PHASH), np.uint8).reshape(1, 64)


def random_hashes(rows: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (rows, 64), dtype=np.uint8)


def test_keys_are_words_of_the_phash_then_of_the_dhash() -> None:
    keys, emitted = wide_bands(16).of(GOLDEN)
    words = [PHASH[at : at + 8] for at in range(0, 64, 8)]
    words += [DHASH[at : at + 8] for at in range(0, 64, 8)]
    assert [f"{key:08x}" for key in keys[0]] == words
    assert emitted.sum() == 15
    assert not emitted[0, 9]
    assert f"{keys[0, 9]:08x}" == "ffffbf5f"


@pytest.mark.parametrize(("bits_set", "emitted"), [(3, False), (4, True), (28, True), (29, False)])
def test_a_dhash_key_that_says_nothing_is_not_emitted(bits_set: int, emitted: bool) -> None:
    bits = np.zeros((1, 512), np.uint8)
    bits[0, :bits_set] = 1  # the first dHash word, table 8
    _, mask = wide_bands(16).of(np.packbits(bits, axis=1))
    assert mask[0, 8] == emitted
    assert mask[0, :8].all()


def test_high_recall_adds_blocks_of_the_dhash_and_column_pairs_of_the_phash() -> None:
    hashes = random_hashes(5)
    keys, emitted = wide_bands(32).of(hashes)
    bits = np.unpackbits(hashes, axis=1)
    dhash, phash = bits[:, :256].reshape(-1, 16, 16), bits[:, 256:].reshape(-1, 16, 16)
    assert (keys[:, :16] == wide_bands(16).of(hashes)[0]).all()
    for table in range(8):
        top, left = 4 * (table // 2), 8 * (table % 2)
        block = np.packbits(dhash[:, top : top + 4, left : left + 8].reshape(-1, 32), axis=1)
        columns = np.packbits(phash[:, :, 2 * table : 2 * table + 2].reshape(-1, 32), axis=1)
        assert (keys[:, 16 + table] == block.view(">u4")[:, 0]).all()
        assert (keys[:, 24 + table] == columns.view(">u4")[:, 0]).all()
    assert emitted[:, 24:].all()


@pytest.mark.parametrize("table", [0, 7, 8, 15, 19, 31])
def test_a_flipped_bit_changes_the_key_or_one_sub_band(table: int) -> None:
    bits = np.zeros((512, 512), np.uint8)
    np.fill_diagonal(bits, 1)
    hashes = np.packbits(bits, axis=1)
    keys, _ = wide_bands(32).of(hashes)
    parts = wide_bands(32).sub_keys(hashes, table)
    changed = (parts != 0).sum(axis=1) + (keys[:, table] != 0)
    assert (changed == 1).all()
    assert parts.max() < 1 << 30
    assert ((parts != 0).sum(axis=0) == 30).all()


def test_no_hashes_have_no_keys() -> None:
    keys, emitted = wide_bands(32).of(random_hashes(0))
    assert keys.shape == emitted.shape == (0, 32)
    assert wide_bands(32).sub_keys(random_hashes(0), 3).shape == (0, 16)


def test_keys_that_say_nothing_are_emitted_if_they_are_not_judged() -> None:
    none = np.zeros((1, 64), np.uint8)
    assert wide_bands(32).of(none)[1].sum() == 16
    assert wide_bands(32, judged=False).of(none)[1].all()


@pytest.mark.parametrize(
    ("bands", "tables", "key_bits"),
    [
        (short_bands(2), 6, {32}),
        (short_bands(3, few=True), 4, {16}),
        (short_bands(3), 20, {31, 32}),
        (short_bands(4), 35, {27, 28}),
    ],
)
def test_short_hashes_have_the_tables_that_their_distance_needs(
    bands: Bands, tables: int, key_bits: set[int]
) -> None:
    assert bands.tables == tables
    used = (bands.keys >= 0).sum(axis=1).tolist()
    assert set(used) <= key_bits | {max(key_bits) + 1}


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("few", [False, True])
def test_short_hashes_within_the_distance_share_a_key(distance: int, few: bool) -> None:
    bands = short_bands(distance, few=few)
    random = np.random.default_rng(distance)
    left = np.zeros((400, 64), np.uint8)
    left[:, 56:] = random.integers(0, 256, (400, 8), dtype=np.uint8)
    flips = np.zeros((400, 512), np.uint8)
    for row in flips:
        row[448 + random.permutation(64)[:distance]] = 1
    right = left ^ np.packbits(flips, axis=1)
    assert (bands.of(left)[0] == bands.of(right)[0]).any(axis=1).all()


def test_another_distance_of_short_hashes_is_refused() -> None:
    with pytest.raises(ValueError, match="distance must be 0 to 4, got 5"):
        short_bands(5)
