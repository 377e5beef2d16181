import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from manifests.base.errors import AccountingError, OpenwitError
from pipeline.engine.jobs import blocks
from pipeline.engine.steps import Packet
from tests.pipeline.engine.engine_kernels import ROWS, sort_step

BUCKETS = 4


def packet(numbers: list[int], tag: str = "rows") -> Packet:
    keys = [number.to_bytes(16, "big") for number in numbers]
    batch = pa.record_batch([pa.array(keys, pa.binary(16)), pa.array(numbers, pa.int64())], ROWS)
    return Packet(tag, np.array([number % BUCKETS for number in numbers], np.int64), batch)


def pack(packets: list[Packet], unit: str = "u") -> tuple[list[tuple[int, bytes]], list[int]]:
    sent: dict[str, NDArray[np.int64]] = {"rows": np.zeros(BUCKETS, np.int64)}
    packed = list(blocks.pack(packets, unit, {"rows": ROWS}, sent))
    return packed, sent["rows"].tolist()


def unpack(received: list[bytes], most_bytes: int = 1 << 30) -> list[int]:
    batches = blocks.unpack(received, sort_step(), most_bytes, "sort bucket 0")["rows"]
    return [number for batch in batches for number in batch["number"].to_pylist()]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1 << 62), max_size=20), max_size=5),
    st.randoms(use_true_random=False),
)
def test_each_bucket_gets_its_rows_whatever_the_order_and_repetition_of_blocks(
    numbers: list[list[int]], random: "object"
) -> None:
    packed, sent = pack([packet(part) for part in numbers])
    everything = [number for part in numbers for number in part]
    for bucket in range(BUCKETS):
        expected = [number for number in everything if number % BUCKETS == bucket]
        assert sent[bucket] == len(expected)
        received = [block for home, block in packed if home == bucket]
        assert unpack(received) == expected
        repeated = received + received
        random.shuffle(repeated)  # type: ignore[attr-defined]
        assert unpack(repeated) == expected


def test_rows_of_more_buckets_than_a_byte_counts_keep_their_buckets() -> None:
    buckets = np.array([256, 0, 255, 256, 1], np.int64)
    numbers = pa.array(range(5), pa.int64())
    batch = pa.record_batch([pa.array([bytes(16)] * 5, pa.binary(16)), numbers], ROWS)
    sent = {"rows": np.zeros(257, np.int64)}
    packed = list(blocks.pack([Packet("rows", buckets, batch)], "u", {"rows": ROWS}, sent))
    assert {bucket: unpack([block]) for bucket, block in packed} == {
        0: [1], 1: [4], 255: [2], 256: [0, 3]
    }  # fmt: skip


def test_blocks_are_cut_to_their_size_and_rows_held_to_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(blocks, "HELD_BYTES", 5000)
    packed, _ = pack([packet(list(range(start, start + 400))) for start in range(0, 2000, 400)])
    assert max(len(block) for _, block in packed) < 2000
    received = [block for bucket, block in packed if bucket == 1]
    assert unpack(received[::-1]) == list(range(1, 2000, 4))


def test_a_torn_block_is_found() -> None:
    (_, block), *_ = pack([packet([4, 8])])[0]
    for position in (0, 5, 20, 64, len(block) - 1):
        torn = bytearray(block)
        torn[position] ^= 1
        with pytest.raises(AccountingError, match="shuffle lost or changed"):
            unpack([bytes(torn)])


def test_a_bucket_above_its_bound_names_the_heaviest_key() -> None:
    packed, _ = pack([packet([4, 8, 8, 8])])
    with pytest.raises(OpenwitError, match=r"x00\\x08', 3 of 4 rows rows: raise engine"):
        unpack([block for _, block in packed], most_bytes=10)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Packet("other", np.zeros(1, np.int64), packet([1]).batch), "emitted 'other'"),
        (
            Packet("rows", np.zeros(1, np.int64), packet([1]).batch.select(["key"])),
            r"emitted 'rows': \['key'\]",
        ),
        (Packet("rows", np.full(1, BUCKETS), packet([1]).batch), "a bucket is not 0 to 3"),
        (Packet("rows", np.full(1, -1), packet([1]).batch), "a bucket is not 0 to 3"),
        (Packet("rows", np.zeros(2, np.int64), packet([1]).batch), "a bucket is not 0 to 3"),
    ],
)
def test_a_packet_that_is_not_what_the_step_says_is_refused(wrong: Packet, message: str) -> None:
    with pytest.raises(OpenwitError, match=message):
        pack([wrong])
