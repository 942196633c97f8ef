"""Sweeps: quality, seconds and memory of settings, one JSON line per run."""
