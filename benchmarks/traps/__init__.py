"""Trials of verification in cases in which it has failed: beyond the radius, turned, painted, repeated, unrelated."""
