"""Procedural hands, their poses and rendered depth: what the default weights learn from."""
