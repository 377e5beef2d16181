"""Perceptual hashes: an image to its hash record, and near-duplicates among many records."""
