"""The trainer: from one `manifest.json` to a CLIP-style model, in an exact sample order.

Its interface is the command.
"""

__all__: list[str] = []
