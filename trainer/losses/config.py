"""Which loss is minimised; without torch, as configurations are checked before it is loaded."""

import dataclasses
from typing import Literal

Kind = Literal["clip", "siglip"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """What is minimised."""

    kind: Kind = "clip"
    """InfoNCE, as CLIP, or the sigmoid loss of SigLIP."""
    row_chunk: int = 0
    """Rows whose scores against the whole batch are held at once; 0: all that a rank has."""

    def __post_init__(self) -> None:
        if self.row_chunk < 0:
            raise ValueError(f"row_chunk must be at least 0, got {self.row_chunk}")
