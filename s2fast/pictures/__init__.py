"""Pictures of pairs: scenes, matches and displacements, as `s2fast show` writes them."""
