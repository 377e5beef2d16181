"""The trainer: from one `manifest.json` to a CLIP-style model, in an exact sample order."""
