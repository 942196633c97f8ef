"""Stage 5: what a run found, as tables and pictures."""
