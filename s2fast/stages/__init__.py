"""The stages of a run: one module per stage, each with a function `run`."""
