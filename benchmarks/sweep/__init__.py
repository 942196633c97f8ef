"""Sweeps: what settings give in quality, seconds and memory, one JSON line a run."""
