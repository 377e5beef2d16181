"""What the input files are (`[input]`)."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Which files are read, and as what (`[input]`)."""

    kind: Literal["warc", "wat", "urls", "img2dataset"]
    """What the files hold: `urls` are lists as Parquet, CSV, TSV or JSONL; `img2dataset` the
    Parquet files of its finished shards, beside which their images are."""
    paths: tuple[str, ...]
    """Paths and URIs; an entry `@FILE` names a list of them, one a line."""
    url_column: str = ""
    """The column of a list's URLs; empty is the one of `url`, `URL`, `image_url` that is there."""
    text_column: str = ""
    """The column of its texts; empty is the one of `caption`, `TEXT`, `text`, `alt` that is there.
    """
    base: str = ""
    """Folder or URI that is cut off a path to give its logical name, so that a dataset can be made
    again elsewhere; empty is the configuration's folder."""
    missing: Literal["fail", "skip"] = "fail"
    """What a path without a file does: refuse the run, or leave that file out."""

    def __post_init__(self) -> None:
        """Refuse an empty list.

        Raises:
            ValueError: if there is no path, or an empty one.
        """
        if not self.paths or not all(self.paths):
            raise ValueError(f"paths must name at least one file each, got {list(self.paths)!r}")
