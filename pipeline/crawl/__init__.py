"""Our own visit of pages: seeds to WARC files, in rounds that are resumed and bounded."""
