"""A step as one Beam job: its pipeline, packed rows, the pinned runner and its workers."""
