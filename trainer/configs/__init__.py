"""Small models of our own, as open_clip's model configurations."""
