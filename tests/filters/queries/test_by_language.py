import pyarrow as pa

from filters.queries.by_language import LanguageMatchers
from filters.queries.matcher import Matcher
from filters.queries.query_list import SCHEMA, QueryList, from_queries

WORDS = ["Hund", "chat", "dog", "gift"]
LANGS = ["de", "fr", "en", "und"]


def make(*, by_lang: bool) -> LanguageMatchers:
    table = from_queries(WORDS).table.set_column(2, SCHEMA.field("lang"), pa.array(LANGS))
    build = lambda queries, ids: Matcher(queries, ids=ids)  # noqa: E731
    return LanguageMatchers(QueryList(table, {}), build, by_lang=by_lang)


TEXTS = pa.array(["dog chat gift", "dog Hund chat", "gift dog", "dog Hund"])


def test_all_queries_are_tried_on_all_texts() -> None:
    assert make(by_lang=False).match(TEXTS, None).to_pylist() == [
        [1, 2, 3],
        [0, 1, 2],
        [2, 3],
        [0, 2],
    ]


def test_only_queries_of_a_texts_language_are_tried() -> None:
    found = make(by_lang=True).match(TEXTS, ["en", "de", "ru", "fr"])
    assert found.to_pylist() == [[2], [0], [3], []]
    assert found.type == pa.list_(pa.int32())


def test_no_text_gives_no_list() -> None:
    assert make(by_lang=True).match(TEXTS[:0], []).to_pylist() == []
