"""Logistic regression with PyTorch, from scores to probabilities."""

import numpy as np
import torch

DECAY = 1e-5  # weight decay; keeps weights finite when the classes are separable


def fit_logistic(inputs: np.ndarray, target: np.ndarray) -> tuple[list[float], float]:
    """Return the weights (K floats) and the constant of the logit of `target`. inputs: (N,K) array;
    target: (N,) bool.
    """
    features, true = torch.as_tensor(inputs, dtype=torch.float64), torch.as_tensor(target).double()
    # Normalised inputs, for fast convergence.
    middle, size = features.mean(0), features.std(0).clamp_min(1e-6)
    layer = torch.nn.Linear(features.shape[1], 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        logit = layer((features - middle) / size)[:, 0]
        value = (
            torch.nn.functional.binary_cross_entropy_with_logits(logit, true)
            + DECAY * layer.weight.square().sum()
        )
        value.backward()
        return value

    optimizer.step(loss)
    weights = layer.weight.detach()[0] / size
    return weights.tolist(), (layer.bias.detach()[0] - weights @ middle).item()
