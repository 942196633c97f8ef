"""Example scripts that use the Python interface."""
