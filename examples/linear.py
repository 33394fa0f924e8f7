"""The smallest program: three numbers through one linear layer."""

import naiad as torch
import naiad.nn as nn

torch.manual_seed(0)
x = torch.tensor([1.0, 2.0, 3.0])
layer = nn.Linear(3, 1)
y = layer(x)
print(y)
