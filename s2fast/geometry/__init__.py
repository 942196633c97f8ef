"""Positions of scenes on the ground, and the shift, rotation and scale between two scenes: arrays in, values out."""
