"""`report`: a dataset as one HTML page that needs no network."""
