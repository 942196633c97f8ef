"""Open rasters and read windows of their pixels."""
