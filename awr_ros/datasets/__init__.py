"""The paper on public data sets: loaders, training, metrics, the authors' checkpoints."""
