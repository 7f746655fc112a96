"""Picks for a whole audience: as a stream, or as a job whose result is downloaded."""
