"""Generate ground truth by moving copies of scenes by known amounts, and measure a run against it."""
