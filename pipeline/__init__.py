"""Beam jobs and the crawler: from web archives to a dataset. Its interface is the command."""

__all__: list[str] = []
