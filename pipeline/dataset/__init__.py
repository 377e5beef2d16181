"""The selection on its way to disk: ranks, samples, tables, and the manifest at last."""
