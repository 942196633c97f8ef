"""Sweeps: run a job with many settings; what each setting finds and costs, as a table, a page and a Parquet file."""
