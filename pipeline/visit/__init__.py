"""Polite visits to hosts of the live web: consent first, limits always, one loop for all."""
