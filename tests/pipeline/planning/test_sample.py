"""Samples of inputs: whole records, a bounded part, the shares of the whole."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.units import Source, Unit
from pipeline.planning import sample
from pipeline.planning.sample import take_sample
from pipeline.readers.framing import Limits, Record
from pipeline.readers.warc import HEADER_BYTES, read_records
from tests.toy_site import write_archives

PICTURES = 60


def unit_of(path: pathlib.Path, number: int = 0) -> Unit:
    source = Source(
        role="input", path=str(path), name=path.name, bytes=path.stat().st_size, sha256=""
    )
    return Unit(id=f"{number:016x}", sources=(source,))


def heads(path: str) -> list[str]:
    """Return the URL of each record; nothing else may be there."""
    limits = Limits(record_bytes=1 << 25, header_bytes=HEADER_BYTES)
    with pathlib.Path(path).open("rb") as file:
        found = list(read_records(file, limits))
    assert all(isinstance(each, Record) for each in found)
    return [str(each.headers.get("warc-target-uri")) for each in found if isinstance(each, Record)]


def test_small_inputs_are_their_own_sample(tmp_path: pathlib.Path) -> None:
    units = [unit_of(tmp_path / name) for name in write_archives(tmp_path, pictures=3, archives=1)]
    taken = take_sample(units, str(tmp_path), of_archives=True)
    assert (taken.units, taken.bytes) == (tuple(units), units[0].input_bytes)


def test_pieces_of_archives_are_the_records_that_begin_in_them(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = write_archives(tmp_path / "in", archives=2, pictures=PICTURES)
    units = [unit_of(tmp_path / "in" / name, number) for number, name in enumerate(names)]
    total = sum(unit.input_bytes for unit in units)
    monkeypatch.setattr(sample, "SAMPLE_BYTES", total // 2)
    monkeypatch.setattr(sample, "PIECES", 8)
    monkeypatch.setattr(sample, "TAIL_BYTES", 1 << 14)
    taken = take_sample(units, str(tmp_path), of_archives=True)
    assert taken.bytes == pytest.approx(total / 2, rel=0.05)  # a file ends in one
    known = {url for name in names for url in heads(str(tmp_path / "in" / name))}
    found = [url for unit in taken.units for url in heads(unit.sources[0].path)]
    assert len(found) == len(set(found)) <= len(known)
    assert set(found) <= known
    assert len(found) == pytest.approx(len(known) / 2, rel=0.2)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_gives_its_first_rows(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / f"list.{kind}"
    urls = [f"https://a.example/{number:06d}.jpg" for number in range(1000)]
    if kind == "csv":
        path.write_text("".join(f"{url}\n" for url in ["url", *urls]))
    else:
        pq.write_table(pa.table({"url": urls}), path)
    monkeypatch.setattr(sample, "SAMPLE_BYTES", path.stat().st_size // 4)
    taken = take_sample([unit_of(path)], str(tmp_path), of_archives=False)
    made = pathlib.Path(taken.units[0].sources[0].path)
    rows = made.read_bytes().count(b"\n") if kind == "csv" else pq.read_metadata(made).num_rows
    assert taken.bytes == pytest.approx(path.stat().st_size / 4, rel=0.01)
    assert rows == pytest.approx(250, rel=0.01)
