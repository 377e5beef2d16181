"""The cap: how many pairs a query may select, given, or derived from what the tail shall hold."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.queries.select import cap_from_tail, tail_share
from manifests.base.errors import OpenwitError, RefusedError
from pipeline.engine import files

DEFAULT_CAP = 20_000
"""Pairs per query, as in the CLIP paper, section 2.2."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """How many pairs a query may select (`[select]`)."""

    cap: int | None = None
    """Pairs per query; unset: 20,000, or what `tail_fraction` gives."""
    tail_fraction: float | None = None
    """Share of all matches that queries below the cap shall have, in place of a cap. Published:
    20,000 for the set of 400 million; 6 % gave 60,000 and 170,000 on two larger pools."""
    per_language: bool = False
    """Whether each language has the cap at which its tail share is that of `reference_lang`."""
    reference_lang: str = "en"
    """The language that `cap` or `tail_fraction` is meant for, with `per_language`."""
    counts_file: str = ""
    """JSON object, query to pairs in some other pool: shares are those of that pool. Needs
    `balance.mode = "probabilistic"`."""
    seed: int = 0
    """Part of every keyed hash; another seed draws another selection."""

    def __post_init__(self) -> None:
        """Refuse caps that select nothing or contradict each other, and seeds of no 63 bits."""
        if self.cap is not None and self.tail_fraction is not None:
            raise ValueError("cap must be unset with tail_fraction, got both")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap must be at least 1, got {self.cap}")
        if self.tail_fraction is not None and not 0 < self.tail_fraction < 1:
            raise ValueError(f"tail_fraction must be above 0 and below 1, got {self.tail_fraction}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, got {self.seed}")

    @property
    def rule(self) -> dict[str, Any]:
        """What the caps depend on besides the counts, JSON values."""
        rule: dict[str, Any] = {"cap": self.cap, "tail_fraction": self.tail_fraction}
        return rule | {"reference_lang": self.reference_lang if self.per_language else None}


@dataclasses.dataclass(frozen=True)
class Caps:
    """The most pairs that queries may select."""

    usual: int
    by_lang: tuple[tuple[str, int], ...] = ()
    """For languages with a cap of their own, sorted."""

    @property
    def common(self) -> int | None:
        """The cap of all queries, or None if languages differ."""
        return None if self.by_lang else self.usual

    def of(self, langs: Sequence[str]) -> NDArray[np.int64]:
        """Return the cap of each query, by the languages of a list."""
        caps = dict(self.by_lang)
        return np.array([caps.get(lang, self.usual) for lang in langs], np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"usual": self.usual, "by_lang": dict(self.by_lang)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Caps":
        """Read what `to_json` gave."""
        return cls(value["usual"], tuple(sorted(value["by_lang"].items())))


def base_counts(
    select: SelectSettings, counts: NDArray[np.int64], queries: Sequence[str]
) -> NDArray[np.int64]:
    """Return the counts that caps and thresholds follow from: the pool's, or those of another one.

    Args:
        select: names the file of the other pool, if there is one.
        counts: pairs of each query in this pool, by query id.
        queries: by id.

    Raises:
        RefusedError: if the file is no JSON object of whole numbers.
    """
    if not select.counts_file:
        return counts
    foreign = read_foreign_counts(select.counts_file)
    return np.array([foreign.get(query, 0) for query in queries], np.int64)


def derive_caps(select: SelectSettings, counts: NDArray[np.int64], langs: Sequence[str]) -> Caps:
    """Return the caps for a pool.

    Args:
        select: the rule.
        counts: pairs of each query in the pool, by query id.
        langs: language of each query.

    Raises:
        OpenwitError: if the counts that the rule needs are all 0.
    """
    if not select.per_language:
        return Caps(_usual(select, counts))
    codes = {lang: code for code, lang in enumerate(dict.fromkeys(langs))}
    numbers = np.array([codes[lang] for lang in langs])
    reference = counts[numbers == codes.get(select.reference_lang, -1)]
    if not reference.sum():
        raise OpenwitError(
            f"select.reference_lang: {select.reference_lang}: no query of this language matched a "
            "pair: set a language of the list that does"
        )
    usual = _usual(select, reference)
    share = tail_share(reference.tolist(), usual)
    by_lang = {
        lang: cap_from_tail(counts[numbers == code].tolist(), share)
        for lang, code in codes.items()
        if lang != select.reference_lang and counts[numbers == code].any()
    }
    return Caps(usual, tuple(sorted(by_lang.items())))


def _usual(select: SelectSettings, counts: NDArray[np.int64]) -> int:
    if select.tail_fraction is None or not counts.any():
        return select.cap or DEFAULT_CAP
    return cap_from_tail(counts.tolist(), Fraction(repr(select.tail_fraction)))


def read_foreign_counts(path: str) -> dict[str, int]:
    """Read `select.counts_file`.

    Raises:
        RefusedError: if it is no JSON object of whole numbers.
    """
    try:
        value = json.loads(files.read_bytes(path))
    except OSError as error:
        raise RefusedError(f"select.counts_file: {path}: cannot be read: {error}") from None
    except ValueError as error:
        raise RefusedError(f"select.counts_file: {path}: not JSON: {error}") from None
    if not isinstance(value, dict) or not all(
        type(count) is int and 0 <= count < 2**63 for count in value.values()
    ):
        raise RefusedError(
            f"select.counts_file: {path}: must be an object of queries and whole numbers of pairs"
        )
    return value
