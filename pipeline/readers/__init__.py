"""Input files to records: framing, recovery after damage, bodies under a limit."""
