"""Networks, their heads and their checkpoints."""
