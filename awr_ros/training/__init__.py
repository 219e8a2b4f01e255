"""Training and evaluation. Needs the extras of `pip install .[train]`."""
