"""Truth made on the spot: copies of scenes that are moved by known amounts or show other ground, and what they tell."""
