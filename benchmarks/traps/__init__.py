"""Verification tried where it has been wrong: beyond the radius, turned, painted, repeated, unrelated ground."""
