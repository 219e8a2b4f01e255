"""Procedural hands, their poses and rendered depth: the training data of the default weights."""
