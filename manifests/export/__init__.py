"""What `export` can write into a dataset's folder: one module per consumer."""

from manifests.export.kinds import EXPORTS, export

__all__ = ["EXPORTS", "export"]
