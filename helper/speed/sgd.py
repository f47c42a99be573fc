"""Stochastic gradient descent with momentum, as PyTorch has it, without what it imports."""

from inspect import unwrap
from typing import Any

import torch


class SGD(torch.optim.SGD):
    """torch.optim.SGD, to the bit. Only the wrappers that hide its methods from PyTorch's compiler are taken off.

    They import the compiler, which takes a second and 0.2 GB. Our optimizers are never part of what is compiled.
    """

    add_param_group = unwrap(torch.optim.SGD.add_param_group)
    zero_grad = unwrap(torch.optim.SGD.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.SGD.step))
    state_dict = unwrap(torch.optim.SGD.state_dict)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rates and momenta; whether one kernel updates all is this device's affair, not the file's."""
        unwrap(torch.optim.SGD.load_state_dict)(self, state)
        for group in self.param_groups:
            group["fused"] = self.defaults["fused"]
