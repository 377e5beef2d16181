"""Filters on what an image's header says, one a file."""
