"""The stages of a run: one module and one run function each."""
