"""img2dataset: its finished shards as input, its downloader as an engine for trusted lists."""
