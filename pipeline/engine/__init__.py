"""Beam jobs with committed directories. The engine knows no stage."""
