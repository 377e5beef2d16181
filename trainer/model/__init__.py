"""open_clip's towers: which configuration, how they are built, how a batch goes through them."""
