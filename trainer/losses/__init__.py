"""Contrastive losses, exact on any number of processes and chunks."""
