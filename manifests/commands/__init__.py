"""The sub-commands of `openwit-manifest`: arguments in, one call each, results out."""
