"""Pages to candidates: the encoding, the tree, image URLs, texts, opt-out marks."""
