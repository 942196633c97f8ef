"""Masks that come with scenes or from the user: which pixels do not show ground? Read on a scene's own grid."""
