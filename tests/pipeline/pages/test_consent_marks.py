import pytest

from filters.consent.marks import Signals
from pipeline.pages.consent_marks import page_signals
from pipeline.pages.page import Meta


def test_without_metas_the_header_speaks() -> None:
    header = Signals(("tdm:1",), 1)
    assert page_signals(header, ()) is header


@pytest.mark.parametrize("name", ["robots", "openwit"])
def test_robots_metas_are_marks(name: str) -> None:
    signals = page_signals(Signals(), [Meta(name, "NoAI, none"), Meta("og:image", "noml")])
    assert signals.marks == ("robots:noai", "robots:noindex")


def test_marks_of_header_and_metas_add_up() -> None:
    signals = page_signals(Signals(("x-robots-tag:noai",)), [Meta("robots", "noai")])
    assert signals.marks == ("robots:noai", "x-robots-tag:noai")


@pytest.mark.parametrize(
    ("header", "metas", "expected"),
    [
        (None, ["1"], 1),
        (0, ["1"], 1),
        (1, ["0"], 0),
        (1, ["junk"], 1),
        (None, ["junk", "0"], 0),
        (1, [], 1),
        (None, ["x"], None),
    ],
)
def test_a_reservation_in_a_meta_beats_the_header(
    header: int | None, metas: list[str], expected: int | None
) -> None:
    marks = ("tdm:1",) if header == 1 else ()
    found = page_signals(
        Signals(marks, header),
        [Meta("robots", "all"), *(Meta("tdm-reservation", content) for content in metas)],
    )
    assert found == Signals(("tdm:1",) if expected == 1 else (), expected)
