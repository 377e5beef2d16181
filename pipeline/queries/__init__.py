"""Builds the list of queries from a Wikipedia dump, page views, WordNet and plain text."""
