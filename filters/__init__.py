"""Decisions on plain values: no Beam, no network, no torch, nothing of the other packages."""
