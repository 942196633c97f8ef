"""Self-contained HTML pages: a template, its data, its scripts and a plotting library in one file."""
