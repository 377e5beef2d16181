from hypothesis import given, settings
from hypothesis import strategies as st

from filters.queries.match_form import Case, match_form, normalise_v1
from filters.queries.phrases import Phrases, Tokens
from filters.queries.tokens import form_tokens, forms_of, split_tokens, v1_tokens

CHARACTERS = "aZ\u00e9\u0301 9-'._,;(\n\t\r\x00\u00a0\u2019\u5b57\u3000"
TEXTS = st.lists(st.text() | st.text(alphabet=CHARACTERS), max_size=6)
CASES: st.SearchStrategy[Case] = st.sampled_from(["sensitive", "fold"])


def spans(tokens: Tokens, count: int) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in range(count)]
    for start, length, row in zip(tokens.starts, tokens.lengths, tokens.rows, strict=True):
        found[row].append(tokens.data[start : start + length].decode())
    return found


@settings(deadline=None)  # the first call builds the rules
@given(TEXTS, CASES)
def test_texts_are_cut_as_their_forms(texts: list[str], case: Case) -> None:
    found = spans(form_tokens(forms_of(texts, case), case), len(texts))
    if case == "fold":
        found = [[match_form(token, case).strip() for token in tokens] for tokens in found]
    assert found == [match_form(text, case).split() for text in texts]


@given(TEXTS)
def test_v1_texts_are_cut_at_every_blank(texts: list[str]) -> None:
    found = spans(v1_tokens(texts), len(texts))
    assert found == [normalise_v1(text.replace("\n", " "))[1:-1].split(" ") for text in texts]


@given(TEXTS)
def test_queries_are_cut_at_blanks_alone(texts: list[str]) -> None:
    queries = [text.replace("\n", "") for text in texts]
    assert spans(split_tokens(queries), len(texts)) == [query.split(" ") for query in queries]


WORDS = st.sampled_from(["a", "b", "ab", "abcdefgh", "abcdefgh1", "abcdefgh2", "x" * 20, "x" * 21])
SENTENCES = st.lists(st.lists(WORDS, max_size=5).map(" ".join), max_size=8)


@given(SENTENCES, SENTENCES)
def test_a_phrase_is_where_its_tokens_follow_one_another(
    phrases: list[str], texts: list[str]
) -> None:
    trie = Phrases(form_tokens(phrases), len(phrases))
    rows, found = trie.search(form_tokens(texts))
    assert set(zip(rows.tolist(), found.tolist(), strict=True)) == {
        (row, number)
        for row, text in enumerate(texts)
        for number, phrase in enumerate(phrases)
        if phrase and f" {phrase} " in f" {text} "
    }
