"""Arrays of pixels in, arrays out: what the detector sees, and what in it is not ground."""
