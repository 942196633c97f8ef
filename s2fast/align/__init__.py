"""Write the rasters of scenes whose offsets can be relied on with corrected georeferencing, or on one common grid."""
