import pytest

from pipeline.fetch.img2dataset.messages import failure

# As img2dataset 1.47 and Python's urllib word them.
MESSAGES = [
    ("failed_to_download", "HTTP Error 404: Not Found", "http_gone"),
    ("failed_to_download", "HTTP Error 403: Forbidden", "http_denied"),
    ("failed_to_download", "HTTP Error 503: Service Unavailable", "http_busy"),
    ("failed_to_download", "<urlopen error [Errno -2] Name or service not known>", "dns"),
    ("failed_to_download", "<urlopen error [Errno 111] Connection refused>", "connect"),
    ("failed_to_download", "<urlopen error timed out>", "timeout"),
    ("failed_to_download", "The read operation timed out", "timeout"),
    (
        "failed_to_download",
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed>",
        "tls_certificate",
    ),
    ("failed_to_download", "Remote end closed connection without response", "connection_lost"),
    ("failed_to_download", "Use of image disallowed by X-Robots-Tag directive", "optout_image"),
    (
        "failed_to_download",
        "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed",
        "redirect_refused",
    ),
    ("failed_to_download", "hash mismatch", "hash_mismatch"),
    ("failed_to_download", "URL can't contain control characters", "protocol"),
    ("failed_to_resize", "image decoding error", "decode_error"),
    ("failed_to_resize", "image too small", "too_small"),
    ("failed_to_resize", "aspect ratio too large", "aspect_ratio"),
    ("failed_to_resize", None, "decode_error"),
]


@pytest.mark.parametrize(("status", "message", "reason"), MESSAGES)
def test_every_message_has_a_reason(status: str, message: str | None, reason: str) -> None:
    drop = failure(status, message)
    assert drop is not None
    assert drop.reason.value == reason


@pytest.mark.parametrize("status", ["success", None])
def test_a_row_with_an_image_has_none(status: str | None) -> None:
    assert failure(status, None) is None
