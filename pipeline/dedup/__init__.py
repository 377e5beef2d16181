"""Rows to records, records to edges, edges to decisions, decisions back to rows."""
