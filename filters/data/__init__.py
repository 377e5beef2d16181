"""Small lists that filters read; each says its source, date and licence in its head."""
