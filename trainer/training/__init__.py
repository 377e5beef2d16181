"""A training as it goes on: steps, what is counted and written of them, stops and checkpoints."""
