"""The run folder: what is in it, whether it is whole, and who writes it."""
