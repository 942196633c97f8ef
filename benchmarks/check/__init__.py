"""The regression check: facts independent of timing, then times, which count only if the machine is quiet enough."""
