"""The rows of one unit to image bytes: where bodies come from, and what is stored of them."""
