import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.base.errors import RefusedError
from manifests.derivation.choosing.expression import Expression
from manifests.derivation.choosing.idlist import read_ids
from manifests.derivation.filter import filter_dataset
from manifests.format import Manifest
from manifests.format.ids import HALVES, npy_bytes
from manifests.format.join import rows

MakeDataset = Callable[..., Manifest]
SCHEMA = pa.schema(
    [("width", pa.int32()), ("caption", pa.string()), ("query_ids", pa.list_(pa.int32()))]
)
FIRST = "5836a3eecff53951d31311f58fb160f1"


@pytest.fixture
def source(make_dataset: MakeDataset) -> Manifest:
    return make_dataset(20, 7)


def column(manifest: Manifest | None, name: str) -> list[Any]:
    assert manifest is not None
    return [each for table in rows(manifest) for each in table[name].to_pylist()]


def test_rows_of_which_the_expression_is_true_are_kept(
    source: Manifest, tmp_path: pathlib.Path
) -> None:
    made = filter_dataset(source.root, str(tmp_path / "out"), where="page_url LIKE '%host1%'")
    assert set(column(made.dataset, "page_url")) == {
        url for url in column(source, "page_url") if url and "host1" in url
    }


def test_drops_are_in_the_funnel_and_in_the_ledger(
    source: Manifest, tmp_path: pathlib.Path
) -> None:
    listed = tmp_path / "ids"
    listed.write_text("\n".join(column(source, "pair_id")[:12]))
    made = filter_dataset(
        source.root, str(tmp_path / "out"), ids=str(listed), where="duplicates = 1"
    ).dataset
    assert made is not None
    assert made.funnel is not None
    drops = made.funnel[0]["drops"]
    assert made.funnel[0] == {
        "stage": "filter", "rows_in": 20, "rows_out": made.samples, "drops": drops,
        "failed_units": 0,
    }  # fmt: skip
    assert (drops["not_listed"], drops["where"] + made.samples) == (8, 12)
    ledger = pq.read_table(made.path(made.listed("ledger")[0].path)).to_pylist()
    lost = set(column(source, "pair_id")) - set(column(made, "pair_id"))
    assert [row["pair_id"] for row in ledger] == sorted(lost)


def test_scores_are_joined_by_pair_id(source: Manifest, tmp_path: pathlib.Path) -> None:
    ids = column(source, "pair_id")
    scores = pa.table({"pair_id": ids[::-1][:15], "score": [number / 10 for number in range(15)]})
    pq.write_table(scores, tmp_path / "scores.parquet")
    made = filter_dataset(
        source.root,
        str(tmp_path / "out"),
        where="score >= 1.0",
        extra=str(tmp_path / "scores.parquet"),
    )
    assert column(made.dataset, "pair_id") == sorted(ids[::-1][10:15])


def test_scores_may_be_a_folder_of_files_with_keys(
    source: Manifest, tmp_path: pathlib.Path
) -> None:
    ids, folder = column(source, "pair_id"), tmp_path / "scores"
    folder.mkdir()
    (folder / "scores.json").write_text("{}")
    for number, part in enumerate((ids[:9], ids[9:])):
        table = pa.table(
            {"pair_id": part, "key": ["000000000"] * len(part), "score": [number] * len(part)}
        )
        pq.write_table(table, folder / f"scores-{number}.parquet")
    made = filter_dataset(source.root, str(tmp_path / "out"), where="score = 0", extra=str(folder))
    assert column(made.dataset, "pair_id") == sorted(ids[:9])
    with pytest.raises(RefusedError, match="no Parquet file, and no folder"):
        filter_dataset(
            source.root, str(tmp_path / "o"), where="score = 0", extra=str(tmp_path / "x")
        )


def test_ids_alone_can_be_listed(source: Manifest, tmp_path: pathlib.Path) -> None:
    made = filter_dataset(source.root, str(tmp_path / "l"), where="duplicates = 1", list_only=True)
    assert made.dataset is None
    again = filter_dataset(source.root, str(tmp_path / "out"), ids=str(tmp_path / "l"))
    assert (again.rows_out, again.not_found) == (made.rows_out, 0)
    assert set(column(again.dataset, "duplicates")) == {1}
    with pytest.raises(RefusedError, match="exists"):
        filter_dataset(source.root, str(tmp_path / "l"), where="true", list_only=True)


def test_ids_that_are_not_there_are_counted(source: Manifest, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ids").write_text(f"{FIRST}\n{FIRST.upper()}\n\n{column(source, 'pair_id')[3]}\n")
    made = filter_dataset(source.root, str(tmp_path / "out"), ids=str(tmp_path / "ids"))
    assert (made.rows_out, made.not_found) == (1, 1)


@pytest.mark.parametrize(
    "sql",
    [
        "random() < 0.5",
        "now() > '2020-01-01'",
        "count(*) > 1",
        "row_number() over () < 3",
        "(select true)",
        "width in (select 1)",
        "exists (from 'x.parquet')",
        "true; drop table x",
        "true) from read_csv('/etc/passwd') --",
        "true, (true",
        "true) where (true",
        "width",
        "1",
        "nosuch > 1",
        "width >",
        "",
        "read_text('/etc/passwd') is not null",
        "nextval('x') > 1",
        "*",
        "$1",
        "uuid() is not null",
    ],
)
def test_what_is_not_an_expression_of_one_row_is_refused(sql: str) -> None:
    with pytest.raises(RefusedError, match="--where"):
        Expression(sql, SCHEMA)


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("width > 1 -- and more", [False, True, False]),
        ("caption LIKE 'a%' OR width = 2", [True, True, False]),
        ("list_contains(query_ids, 7)", [False, True, False]),
        ("length(caption) BETWEEN 1 AND 2", [True, False, False]),
        ("CASE WHEN width = 1 THEN true ELSE false END", [True, False, False]),
        ("len(list_filter(query_ids, lambda x: x > 1)) = 1", [False, True, False]),
        ("regexp_matches(caption, '^[a-b]+$')", [True, True, False]),
        ("null", [False, False, False]),
    ],
)
def test_null_is_false(sql: str, kept: list[bool]) -> None:
    table = pa.table(
        {"width": [1, 2, None], "caption": ["a", "bbb", None], "query_ids": [[1], [7, 1], None]},
        SCHEMA,
    )
    if sql == "null":
        with pytest.raises(RefusedError, match="not true or false"):
            Expression(sql, SCHEMA)
        return
    assert Expression(sql, SCHEMA)(table).tolist() == kept


def test_a_value_that_cannot_be_computed_names_the_expression() -> None:
    expression = Expression("caption::int > 1", SCHEMA)
    table = pa.table({"width": [1], "caption": ["x"], "query_ids": [[1]]}, SCHEMA)
    with pytest.raises(RefusedError, match="--where caption::int > 1: Conversion Error"):
        expression(table)


def test_malformed_lines_of_an_id_file_are_listed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ids").write_text(f"{FIRST}\nzz\n{FIRST}0\n")
    with pytest.raises(RefusedError, match="line 2: 'zz', line 3:"):
        read_ids(str(tmp_path / "ids"))


def test_all_forms_of_id_files_say_the_same(tmp_path: pathlib.Path) -> None:
    ids = sorted([FIRST, "0" * 32, "f" * 32])
    (tmp_path / "npy").write_bytes(npy_bytes(pa.array(ids)))
    (tmp_path / "text").write_text("\n".join(reversed(ids)))
    pq.write_table(pa.table({"pair_id": [*ids, FIRST]}), tmp_path / "parquet")
    for name in ("npy", "text", "parquet"):
        assert read_ids(str(tmp_path / name)).to_pylist() == ids


def test_subset_files_are_those_of_the_specification() -> None:
    ids = ["139e4a9b22a614771f06c700a8ebe150", FIRST, "ff" * 8 + "00" * 8]
    data = npy_bytes(pa.array(ids))
    assert len(data) == 176
    found = np.frombuffer(data[-48:], HALVES)
    assert tuple(found[0]) == (1413649363202610295, 2235693070683988304)


@pytest.mark.parametrize(
    "options", [{}, {"extra": "x", "ids": "y"}, {"ids": "/nowhere"}, {"where": "a", "extra": "/no"}]
)
def test_options_that_do_not_fit_are_refused(
    source: Manifest, tmp_path: pathlib.Path, options: dict[str, str]
) -> None:
    with pytest.raises(RefusedError, match="--"):
        filter_dataset(source.root, str(tmp_path / "out"), **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
