"""Arrays in, values out: where scenes lie, and how one lies against another."""
