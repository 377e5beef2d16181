"""Rules about texts: normalisation, length."""
