"""What both trainers step with: Muon for convolutions, AdamW for everything else."""
import torch


class MuonAdamW:
    """Muon (Jordan et al. 2024) for the weights of convolutions, each as a matrix of one row per output channel; AdamW for
    the rest: biases, norms and first layers with one input channel, which are no matrices worth the name.

    Muon's steps are scaled to the size of AdamW's (`match_rms_adamw`), so that one learning rate serves both. Has what is
    used of torch.optim.Optimizer.
    """

    def __init__(self, network, learning_rate, weight_decay):
        """network: in channels_last memory format, in which a convolution's weights are such a matrix without a copy."""
        self._weights = [m.weight for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.weight[0].numel() > 9]
        matrices = [torch.nn.Parameter(_matrix(weight.detach())) for weight in self._weights]
        if any(matrix.data_ptr() != weight.data_ptr() for matrix, weight in zip(matrices, self._weights)):
            raise ValueError('the network must be in channels_last memory format')
        others = {id(weight) for weight in self._weights}
        self._matrices = matrices
        self._muon = torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn='match_rms_adamw')
        self._adamw = torch.optim.AdamW([p for p in network.parameters() if id(p) not in others], lr=learning_rate,
                                        weight_decay=weight_decay)

    @property
    def param_groups(self):
        """Of both."""
        return self._muon.param_groups + self._adamw.param_groups

    def zero_grad(self):
        """Forget all gradients."""
        for weight in self._weights:
            weight.grad = None
        self._adamw.zero_grad(set_to_none=True)

    def step(self):
        """One step of both."""
        for matrix, weight in zip(self._matrices, self._weights):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        self._muon.step()
        self._adamw.step()

    def state_dict(self):
        """Of both."""
        return {'muon': self._muon.state_dict(), 'adamw': self._adamw.state_dict()}

    def load_state_dict(self, state):
        """What `state_dict` gave. Raises ValueError for the state of another optimiser."""
        if set(state) != {'muon', 'adamw'}:
            raise ValueError(f'expected the state of muon and adamw, got {sorted(state)}: begin a new run from its weights')
        self._muon.load_state_dict(state['muon'])
        self._adamw.load_state_dict(state['adamw'])


def _matrix(weight):
    """(O,I,h,w) -> (O,h*w*I), of channels_last memory a view."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
