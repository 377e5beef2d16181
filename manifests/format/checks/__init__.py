"""Every sample of a shard, looked at: its row, its place in the tar, its members."""
