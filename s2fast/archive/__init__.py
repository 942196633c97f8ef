"""Find scenes, read their names, and give them unique ids."""
