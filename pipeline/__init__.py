"""Beam jobs and the crawler: from web archives to a dataset."""
