import pytest

from filters.consent.decision import ALL_MARKS, ConsentSettings, blocked_by
from filters.verdict import Drop, DropReason


@pytest.mark.parametrize("mark", ALL_MARKS)
def test_every_mark_blocks_by_default(mark: str) -> None:
    assert blocked_by([mark], ConsentSettings()) == Drop(DropReason.OPTOUT_PAGE, mark)


def test_all_signals_of_the_specification_are_marks() -> None:
    directives = {"noai", "noimageai", "noml", "noimageindex", "noindex"}
    assert set(ALL_MARKS) == (
        {f"x-robots-tag:{name}" for name in directives}
        | {f"robots:{name}" for name in directives}
        | {"tdm:1", "content-usage:train-ai=n"}
    )


def test_no_mark_and_unhonoured_marks_block_nothing() -> None:
    settings = ConsentSettings(honour=("robots:noai",))
    assert blocked_by([], settings) is None
    assert blocked_by(["robots:noindex", "tdm:1"], settings) is None


def test_the_first_honoured_mark_is_the_value() -> None:
    settings = ConsentSettings(honour=("tdm:1", "robots:noai"))
    marks = ["robots:noindex", "robots:noai", "tdm:1"]
    assert blocked_by(marks, settings, DropReason.OPTOUT_IMAGE) == Drop(
        DropReason.OPTOUT_IMAGE, "robots:noai"
    )


def test_an_added_key_is_always_honoured() -> None:
    settings = ConsentSettings(honour=(), content_usage_keys=("train-ai", "ai-input"))
    assert blocked_by(["content-usage:ai-input=n"], settings) is not None
    assert blocked_by(["content-usage:train-ai=n"], settings) is None


def test_a_mark_that_cannot_occur_is_refused() -> None:
    with pytest.raises(ValueError, match=r"honour must be of .*robots:noai.*, got 'noai'"):
        ConsentSettings(honour=("noai",))


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="content_usage_keys must be names"):
        ConsentSettings(content_usage_keys=("",))
