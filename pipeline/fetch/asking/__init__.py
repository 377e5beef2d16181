"""One bucket of a round: from whom bodies come, and how what comes is kept."""
