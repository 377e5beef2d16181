"""Hash files: the hashes of an evaluation set, a block list or a published dataset."""
