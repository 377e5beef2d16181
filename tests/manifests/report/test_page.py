"""The page shows what the dataset says, and nothing in the dataset can do anything to the page."""

import base64
import dataclasses
import datetime
import hashlib
import html.parser
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.base.errors import RefusedError
from manifests.derivation.choosing.plan import plan_drop
from manifests.derivation.choosing.selectors import Matcher, parse
from manifests.derivation.drop import apply_drop
from manifests.format import Manifest
from manifests.inspection.stats import stats
from manifests.report.page import script_json, shown, write_report
from tests.manifests.report.hostile import HOSTILE, hostile_dataset

MakeDataset = Callable[..., Manifest]


class Reader(html.parser.HTMLParser):
    """Collects elements and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem:
            self.scripts.append(data)
        self.texts.append(data)


def report(
    manifest: Manifest, path: pathlib.Path, **options: Any
) -> tuple[Reader, tuple[str, ...]]:
    page = write_report(manifest, str(path), stats=lambda: stats(manifest), **options)
    reader = Reader()
    reader.feed(page.html.decode())
    return reader, page.left_out


def test_equal_arguments_give_equal_bytes(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(12, 5)
    pages = [write_report(source, str(tmp_path / name), stats=lambda: stats(source)).html
             for name in "ab"]  # fmt: skip
    assert pages[0] == pages[1] == (tmp_path / "a").read_bytes()
    assert len(pages[0]) < 10 << 20


def test_sections_without_a_source_say_so(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(12, 5)
    reader, left_out = report(source, tmp_path / "page")
    assert left_out == ("Takedowns", "Training")
    assert "Left out: " in "".join(reader.texts)
    empty = dataclasses.replace(source, shards=(), files=(), funnel=None)
    _, left_out = report(empty, tmp_path / "page")
    assert set(left_out) >= {"Queries", "Dropped pairs", "What was kept, what was dropped"}


def test_a_damaged_shard_leaves_out_what_needs_it(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(12, 5)
    pathlib.Path(source.root, "shards/00000001.parquet").write_bytes(b"x")
    pathlib.Path(source.root, "queries.parquet").unlink()
    reader, left_out = report(source, tmp_path / "page")
    assert {"Queries", "Samples", "Images and captions"} <= set(left_out)
    assert "no_query_match" in "".join(reader.texts)


def test_an_image_that_cannot_be_decoded_is_a_grey_box(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    source = make_dataset(5, 5)
    row = source.reader(source.shards[0]).table().to_pylist()[1]
    path = pathlib.Path(source.root, "shards/00000000.tar")
    data = bytearray(path.read_bytes())
    data[row["image_offset"] : row["image_offset"] + 20] = bytes(20)
    path.write_bytes(data)
    reader, _ = report(source, tmp_path / "page", pictures=40)
    assert "cannot be decoded" in "".join(reader.texts)


def test_what_is_hostile_is_shown_as_text(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    manifest = hostile_dataset(make_dataset)
    reader, _ = report(manifest, tmp_path / "page", pictures=100)
    for text in HOSTILE:
        assert shown(text) in reader.texts
    scripts = [attrs for tag, attrs in reader.tags if tag == "script"]
    assert len([attrs for attrs in scripts if not attrs]) == 4
    assert {attrs["type"] for attrs in scripts if attrs} == {"application/json"}
    assert not [attrs for tag, attrs in reader.tags if any(name.startswith("on") for name in attrs)]
    sources = [attrs["src"] or "" for tag, attrs in reader.tags if tag == "img"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attrs["href"] or "" for tag, attrs in reader.tags if tag == "a"]
    assert all(link.startswith("#") for link in links)
    assert not [
        tag for tag, _ in reader.tags if tag in ("iframe", "object", "link", "base", "form")
    ]


def test_the_policy_allows_our_scripts_alone(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    reader, _ = report(make_dataset(5), tmp_path / "page")
    policy = next(attrs["content"] or "" for tag, attrs in reader.tags if tag == "meta"
                  and "http-equiv" in attrs)  # fmt: skip
    page = (tmp_path / "page").read_text()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts
    ]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
        + " ".join(f"'sha256-{digest}'" for digest in digests)
    )
    assert all("BSD" in each or "Redistribution" in each for each in scripts[:3])


@given(st.text() | st.sampled_from(HOSTILE))
def test_data_in_a_script_is_the_same_data_and_ends_nothing(text: str) -> None:
    written = script_json({"value": text})
    assert json.loads(written) == {"value": text}
    assert not set(written) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\u202eb", "a\\u{202e}b"), ("\x1b[2J", "\\u{1b}[2J"), ("x" * 301, "x" * 299 + "…")],
)
def test_texts_are_cut_and_unseen_characters_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_takedowns_and_training_are_shown(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    plan = plan_drop(make_dataset(12, 5).root, Matcher([parse("domain", "host1.example")]))
    made = apply_drop(plan, reason="optout", date=datetime.date(2026, 1, 2))
    lines = [{"event": "start", "step": 0}] + [
        {"event": "train", "step": step, "loss": 1 / step, "lr": 0.1} for step in range(1, 5)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    reader, left_out = report(made, tmp_path / "page", training=str(tmp_path))
    assert left_out == ()
    texts = "".join(reader.texts)
    assert "domain:host1.example" in texts
    assert "2026-01-02" in texts


def test_a_gallery_out_of_range_is_refused(
    make_dataset: MakeDataset, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(RefusedError, match="--gallery"):
        report(make_dataset(5), tmp_path / "page", pictures=-1)
