"""What decides which pairs are taken: expressions, lists of ids, selectors."""
