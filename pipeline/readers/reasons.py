"""Why a record or page gives no candidates: counted per unit; faults also leave a dead letter."""

import enum


class Skip(enum.StrEnum):
    """A sound record that is no page."""

    WARCINFO = "warcinfo"
    """A record of type warcinfo."""
    REQUEST = "request"
    """A record of type request."""
    METADATA = "metadata"
    """A record of type metadata."""
    REVISIT = "revisit"
    """A record of type revisit; one of an image is indexed."""
    TYPE_OTHER = "type_other"
    """A record of another type, or a response that is not HTTP."""
    STATUS = "status"
    """A response with another status than 200; one that redirects is indexed."""
    IMAGE_RESPONSE = "image_response"
    """A response that is an image by its first bytes; it is indexed."""
    NOT_HTML = "not_html"
    """A response that is neither HTML nor an image."""
    PAGE_URL = "page_url"
    """A page whose own URL is none that can be used."""


class PageDrop(enum.StrEnum):
    """A page that cannot be parsed."""

    EMPTY_BODY = "empty_body"
    """The page has no bytes."""
    CHARSET_UNSUPPORTED = "charset_unsupported"
    """The page is in an encoding that cannot be decoded."""


class Fault(enum.StrEnum):
    """A record that cannot be read."""

    GZIP_CORRUPT = "gzip_corrupt"
    """A gzip member that cannot be inflated, or has another checksum."""
    GZIP_TRUNCATED = "gzip_truncated"
    """The file ends within a gzip member."""
    JUNK = "junk"
    """Bytes that begin neither a record nor a gzip member."""
    HEADER_TOO_LARGE = "header_too_large"
    """A WARC or HTTP header block above `extract.max_header_bytes`."""
    RECORD_HEADER = "record_header"
    """A WARC header block without its version line or its end."""
    RECORD_LENGTH = "record_length"
    """No Content-Length, or another than the record has."""
    RECORD_TOO_LARGE = "record_too_large"
    """A record above `extract.max_record_bytes`."""
    HTTP_HEADER = "http_header"
    """A response without an HTTP status line."""
    BODY_ENCODING = "body_encoding"
    """A body in an unknown coding, or one that gives nothing."""
    BODY_TOO_LARGE = "body_too_large"
    """A decompression bomb: above 1 MiB and 100 times what was read."""
    WAT_JSON = "wat_json"
    """A WAT record whose JSON cannot be read."""
    LIST_ROW = "list_row"
    """A row of a list that cannot be read."""
