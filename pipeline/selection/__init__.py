"""Matched pairs to those that are selected: merging, counting, thresholds, choosing."""
