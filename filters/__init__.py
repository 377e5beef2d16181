"""Decisions on plain values: no Beam, no network, no torch, nothing of the other packages."""

from filters.verdict import Drop, DropReason

__all__ = ["Drop", "DropReason"]
