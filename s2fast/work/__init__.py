"""Where work runs, and what is shown of it."""
