"""Reads what a list is built from: dumps, page views, WordNet, counts of words."""
