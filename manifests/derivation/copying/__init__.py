"""Rows and members of datasets, copied into a new one."""
