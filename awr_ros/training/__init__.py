"""Training. Needs the extras of `pip install .[train]`."""
