"""What the input files are (`[input]`)."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Which files are read, and as what (`[input]`)."""

    kind: Literal["warc"]
    """What the files hold."""
    paths: tuple[str, ...]
    """Paths and URIs; an entry `@FILE` names a list of them, one a line."""
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
