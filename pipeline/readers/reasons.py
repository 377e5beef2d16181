"""Why a record or page gives no candidates: counted per unit; faults also leave a dead letter."""

import enum


class Skip(enum.StrEnum):
    """A sound record that is no page."""

    WARCINFO = "warcinfo"
    REQUEST = "request"
    METADATA = "metadata"
    REVISIT = "revisit"
    TYPE_OTHER = "type_other"
    STATUS = "status"
    IMAGE_RESPONSE = "image_response"
    NOT_HTML = "not_html"
    PAGE_URL = "page_url"


class PageDrop(enum.StrEnum):
    """A page that cannot be parsed."""

    EMPTY_BODY = "empty_body"
    CHARSET_UNSUPPORTED = "charset_unsupported"


class Fault(enum.StrEnum):
    """A record that cannot be read."""

    GZIP_CORRUPT = "gzip_corrupt"
    GZIP_TRUNCATED = "gzip_truncated"
    JUNK = "junk"
    HEADER_TOO_LARGE = "header_too_large"
    RECORD_HEADER = "record_header"
    RECORD_LENGTH = "record_length"
    RECORD_TOO_LARGE = "record_too_large"
    HTTP_HEADER = "http_header"
    BODY_ENCODING = "body_encoding"
    BODY_TOO_LARGE = "body_too_large"
