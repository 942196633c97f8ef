"""Scripts to read and to run: the job through the Python interface."""
