"""Datasets that others wrote: their tars stay as they are, sidecars say what is in them."""
