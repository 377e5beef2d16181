"""The dataset on disk: names, ids, schemas, tar and Parquet bytes, shards, the manifest."""
