"""Commands that make new datasets of old ones."""
