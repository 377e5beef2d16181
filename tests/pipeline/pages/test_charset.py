import pytest

from pipeline.pages.charset import header_charset


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["text/html; charset=utf-8"], "utf-8"),
        (['text/html;CHARSET = "GB2312";x'], "GB2312"),
        (["text/html; charset='koi8-r'"], "koi8-r"),
        (["text/html", "text/html; charset=big5, utf-8"], "big5"),
        (["text/html; charset=a", "text/html; charset=b"], "a"),
        (["text/html; charset="], None),
        (["text/html"], None),
        ([], None),
    ],
)
def test_the_first_charset_of_a_content_type_counts(
    values: list[str], expected: str | None
) -> None:
    assert header_charset(values) == expected


def test_a_label_of_absurd_length_is_cut() -> None:
    assert header_charset(["text/html; charset=" + "x" * 1000]) == "x" * 40
