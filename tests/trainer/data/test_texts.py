import open_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip import tokenizer as theirs

from trainer.data.texts import quick, with_quick_clean

PIECES = [
    *("&amp;", "&", "<b>", " ", "\t", "\n", "\u00c3\u00a9", "\u2019", "\ufb01", "\x1b[31m", "\x00"),
    *("\u00e9", "A", "z", "0", "''"),
]
TEXTS = st.one_of(
    st.text(), st.lists(st.sampled_from(PIECES)).map("".join), st.text("&;#aZ 9<'\"~\\")
)


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_texts_are_cleaned_as_by_open_clip(text: str) -> None:
    assert quick(theirs._clean_lower)(text) == theirs._clean_lower(text)


def test_plain_texts_are_not_handed_on() -> None:
    def fail(text: str) -> str:
        raise AssertionError(text)

    assert quick(fail)("  A Photo of <b>1</b>  ") == "a photo of <b>1</b>"


def test_tokens_are_those_of_open_clip() -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    texts = ["A red  Cat", "caf\u00c3\u00a9 &amp; tea", ""]
    assert with_quick_clean(tokenizer)(texts).equal(tokenizer(texts))
    assert tokenizer.clean_fn is theirs._clean_lower  # a copy was changed


def test_what_cleans_otherwise_is_left_alone() -> None:
    tokenizer = theirs.SimpleTokenizer(clean="whitespace")
    assert with_quick_clean(tokenizer) is tokenizer
    assert with_quick_clean(len) is len
