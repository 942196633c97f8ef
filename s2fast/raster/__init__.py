"""Pixels in: open a raster, read windows of it."""
