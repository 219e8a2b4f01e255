"""Logistic regression, by PyTorch: what turns scores into chances."""

import torch

DECAY = 1e-5  # keeps weights finite where the examples are told apart without error


def fit_logistic(inputs, target):
    """The weights (K floats) and the constant of the log odds of `target`. inputs: (N,K) array;
    target: (N,) bool.
    """
    inputs, target = torch.as_tensor(inputs, dtype=torch.float64), torch.as_tensor(target).double()
    # Of unit size and about zero, or the optimiser would creep.
    middle, size = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    layer = torch.nn.Linear(inputs.shape[1], 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn='strong_wolfe')

    def loss():
        optimizer.zero_grad()
        logit = layer((inputs - middle) / size)[:, 0]
        value = (
            torch.nn.functional.binary_cross_entropy_with_logits(logit, target)
            + DECAY * layer.weight.square().sum()
        )
        value.backward()
        return value

    optimizer.step(loss)
    weights = layer.weight.detach()[0] / size
    return weights.tolist(), (layer.bias.detach()[0] - weights @ middle).item()
