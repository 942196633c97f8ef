"""Fetch scenes: search a catalogue, and download rasters and their masks into a folder."""
