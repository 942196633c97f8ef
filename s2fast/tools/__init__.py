"""Auxiliary commands: the doctor, the demo and the configuration reference."""
