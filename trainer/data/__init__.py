"""From a manifest to batches: order, shards, loader, transforms, bad samples."""
