"""Optimisers of training: Muon for convolutions, AdamW for everything else."""

import math
from typing import Any

import torch
from torch import nn


def make_optimizer(
    network: torch.nn.Module, learning_rate: float, weight_decay: float
) -> 'MuonAdamW':
    """Make the optimiser of a network, for the device that it is on. Arguments as MuonAdamW."""
    on_cpu = next(network.parameters()).device.type == 'cpu'
    return (MuonAdamW if on_cpu else CapturableMuonAdamW)(network, learning_rate, weight_decay)


class MuonAdamW:
    """Muon (Jordan et al. 2024) for the weights of convolutions, each as a matrix with one row per
    output channel; AdamW for the rest: biases, norms and first layers with one input channel, whose
    matrices have a single column per pixel.

    Muon's steps are scaled to the size of AdamW's (`match_rms_adamw`), so that one learning rate
    serves both. It has the methods of torch.optim.Optimizer that training uses.
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        """network: in channels_last memory format, in which a convolution's weights are such a
        matrix without a copy.
        """
        self._weights = [
            m.weight
            for m in network.modules()
            if isinstance(m, torch.nn.Conv2d) and m.weight[0].numel() > 9
        ]
        matrices = [torch.nn.Parameter(_matrix(weight.detach())) for weight in self._weights]
        if any(
            matrix.data_ptr() != weight.data_ptr()
            for matrix, weight in zip(matrices, self._weights)
        ):
            raise ValueError('the network must be in channels_last memory format')
        others = {id(weight) for weight in self._weights}
        self._matrices = matrices
        self._muon = torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn='match_rms_adamw'
        )
        self._adamw = torch.optim.AdamW(
            [p for p in network.parameters() if id(p) not in others],
            lr=learning_rate,
            weight_decay=weight_decay,
        )

    @property
    def param_groups(self) -> list[dict]:
        """Parameter groups of both optimisers."""
        return self._muon.param_groups + self._adamw.param_groups

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of both."""
        for group in self.param_groups:
            group['lr'] = rate

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for weight in self._weights:
            weight.grad = None
        self._adamw.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Do one step of both."""
        for matrix, weight in zip(self._matrices, self._weights):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {'muon': self._muon.state_dict(), 'adamw': self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the output of `state_dict`. Raise ValueError for the state of another optimiser."""
        if set(state) != {'muon', 'adamw'}:
            raise ValueError(
                f'expected the state of muon and adamw, got {sorted(state)}: begin a new run from '
                f'its weights'
            )
        for optimizer, saved in ((self._muon, state['muon']), (self._adamw, state['adamw'])):
            # Settings are not loaded: those for a GPU do not fit a CPU.
            groups = [
                {
                    **{key: value for key, value in own.items() if key != 'params'},
                    'params': group['params'],
                }
                for own, group in zip(optimizer.param_groups, saved['param_groups'])
            ]
            optimizer.load_state_dict({'state': saved['state'], 'param_groups': groups})


class CapturableMuonAdamW(MuonAdamW):
    """The same steps for a GPU: few kernels, matrices of one shape together, no synchronisation, so
    that a CUDA graph can capture them. States of both classes are interchangeable.
    """

    def __init__(self, network: torch.nn.Module, learning_rate: float, weight_decay: float):
        super().__init__(network, learning_rate, weight_decay)
        self._rate = torch.tensor(float(learning_rate), device=self._matrices[0].device)
        self._adamw = torch.optim.AdamW(
            self._adamw.param_groups[0]['params'],
            lr=self._rate,
            weight_decay=weight_decay,
            fused=True,
            capturable=self._rate.device.type != 'cpu',
        )
        self._stacks = []  # (indices of matrices of one shape (R,C), their momenta (n,R,C))
        for shape in sorted({matrix.shape for matrix in self._matrices}):
            indices = [i for i, matrix in enumerate(self._matrices) if matrix.shape == shape]
            self._stacks.append(
                (indices, torch.zeros(len(indices), *shape, device=self._rate.device))
            )
        self._keep_momenta()

    def _keep_momenta(self) -> None:
        """Move the momenta of the state into the stacks, and make them views."""
        for indices, momenta in self._stacks:
            for i, momentum in zip(indices, momenta):
                state = self._muon.state[self._matrices[i]]
                if 'momentum_buffer' in state:
                    momentum.copy_(state['momentum_buffer'])
                state['momentum_buffer'] = momentum

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of both, in the tensor that a captured step reads."""
        self._rate.fill_(rate)
        for group in self._muon.param_groups:
            group['lr'] = rate

    @torch.no_grad()
    def step(self) -> None:
        """Do one step of both. Every weight must have a gradient."""
        settings = self._muon.param_groups[0]
        for indices, momenta in self._stacks:
            gradients = torch.stack([_matrix(self._weights[i].grad) for i in indices])
            momenta.lerp_(gradients, 1 - settings['momentum'])
            update = _orthogonal(gradients.lerp(momenta, settings['momentum']), settings)
            rate = self._rate * (0.2 * math.sqrt(max(momenta.shape[1:])))  # match_rms_adamw
            matrices: list[torch.Tensor] = [self._matrices[i] for i in indices]
            torch._foreach_mul_(matrices, 1 - self._rate * settings['weight_decay'])
            torch._foreach_sub_(matrices, (update.float() * rate).unbind())
        self._adamw.step()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the output of `state_dict`, from any device."""
        super().load_state_dict(state)
        self._keep_momenta()


def _orthogonal(stack: torch.Tensor, settings: dict) -> torch.Tensor:
    """Apply torch.optim.Muon's Newton-Schulz iteration to every matrix of (n,R,C). Return (n,R,C)
    bfloat16.
    """
    a, b, c = settings['ns_coefficients']
    tall = stack.shape[1] > stack.shape[2]
    x = stack.bfloat16()
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=settings['eps'])
    for _ in range(settings['ns_steps']):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _matrix(weight):
    """Reshape (O,I,h,w) to (O,h*w*I), a view for channels_last memory."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
