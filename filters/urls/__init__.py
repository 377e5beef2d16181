"""Rules on URLs: identity, and which ones are never images worth having."""
