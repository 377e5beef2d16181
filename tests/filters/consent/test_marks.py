from filters.consent.marks import Signals, header_signals


def _signals(headers: dict[str, list[str]], keys: tuple[str, ...] = ("train-ai",)) -> Signals:
    return header_signals(lambda name: headers.get(name, []), keys)


def test_a_silent_header_gives_no_mark() -> None:
    assert _signals({"content-type": ["text/html"]}) == Signals((), None)


def test_every_signal_of_the_headers_is_marked_sorted_and_once() -> None:
    headers = {
        "x-robots-tag": ["noindex, noai", "noai"],
        "tdm-reservation": ["1"],
        "content-usage": ["train-ai=n"],
    }
    marks = ("content-usage:train-ai=n", "tdm:1", "x-robots-tag:noai", "x-robots-tag:noindex")
    assert _signals(headers) == Signals(marks, 1)


def test_a_reservation_of_zero_is_known_and_no_mark() -> None:
    assert _signals({"tdm-reservation": ["0"]}) == Signals((), 0)


def test_added_keys_of_content_usage_are_marked() -> None:
    headers = {"content-usage": ["ai-input=n, train-ai=y"]}
    assert _signals(headers, ("train-ai", "ai-input")).marks == ("content-usage:ai-input=n",)
