"""The run folder: its layout, its integrity and its lock."""
