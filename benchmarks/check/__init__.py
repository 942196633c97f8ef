"""The regression check: facts that no clock disturbs, then times that only count where the machine is quiet enough."""
