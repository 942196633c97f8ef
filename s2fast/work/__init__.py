"""Executors for units of work, progress display, interrupts and standard streams."""
