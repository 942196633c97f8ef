"""Preparation of images for the detector, and detection of pixels that do not show ground: arrays in, arrays out."""
