"""The stages of a run: each wires its steps and leaves the work to the rooms below."""
