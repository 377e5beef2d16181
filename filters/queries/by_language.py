"""The matchers of a process: one of all queries, or one for each language that a text has."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from filters.queries.matcher import Matcher
from filters.queries.query_list import UNKNOWN_LANG, QueryList


class LanguageMatchers:
    """Finds the queries of a list in texts, or only those of a text's language."""

    def __init__(
        self,
        queries: QueryList,
        build: Callable[[Sequence[str], Sequence[int]], Matcher],
        *,
        by_lang: bool,
    ) -> None:
        """Build nothing yet.

        Args:
            queries: the list.
            build: makes a matcher of queries and their ids.
            by_lang: whether a text is asked only for queries of its language, or for those of no
                known language where the list has none of its own.
        """
        self.by_lang = by_lang
        self._queries = queries
        self._build = build
        self._made: dict[str, Matcher] = {}
        self._langs = np.array(queries.langs, object) if by_lang else np.zeros(0, object)

    def match(self, texts: pa.Array, langs: Sequence[str] | None) -> pa.ListArray:
        """Return the ids of the queries in each text, ascending; `langs` are needed by language."""
        if not self.by_lang or langs is None:
            return self._matcher("").match(texts)
        codes = np.array(langs, object)
        order, parts = [], []
        for lang in sorted(set(langs)):
            places = np.flatnonzero(codes == lang)
            order.append(places)
            parts.append(self._matcher(lang).match(texts.take(pa.array(places))))
        back = np.argsort(np.concatenate([np.zeros(0, np.int64), *order]), kind="stable")
        empty = pa.array([], pa.list_(pa.int32()))
        return pa.concat_arrays([empty, *parts]).take(pa.array(back))

    def _matcher(self, lang: str) -> Matcher:
        if lang and not (self._langs == lang).any():
            lang = UNKNOWN_LANG
        if lang not in self._made:
            queries = self._queries.queries
            ids = np.flatnonzero(self._langs == lang).tolist() if lang else range(len(queries))
            self._made[lang] = self._build([queries[query] for query in ids], ids)
        return self._made[lang]
