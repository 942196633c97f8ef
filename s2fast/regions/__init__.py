"""Polygons of interest: read, checked, and turned into masks."""
