"""A sequence core of a foreign package: it remembers a fading mean of what it has seen, and no file of ours knows it."""

import torch
from torch import nn


class FadingCore(nn.Module):
    """``memory = keep * memory + (1 - keep) * W x``, where ``keep`` is learned for every number of the memory."""

    def __init__(self, input_sizes, output_size, *, keep=0.9):
        super().__init__()
        self.output_size = output_size
        self.into = nn.Linear(sum(input_sizes), output_size)
        self.keep = nn.Parameter(torch.full((output_size,), keep).logit())

    def init(self, batch):
        return {"memory": self.keep.new_zeros(batch, self.output_size)}

    def step(self, x, state, reset):
        keep = self.keep.sigmoid()
        before = torch.where(reset[:, None], 0.0, state["memory"])
        memory = keep * before + (1 - keep) * self.into(x)
        return memory.tanh(), {"memory": memory}

    def scan(self, x, state, reset):
        outputs = []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state, reset[:, t])
            outputs.append(y)
        return torch.stack(outputs, 1), state

    def select(self, state, index):
        return {"memory": state["memory"][index]}
