"""A network of your own: subclass nn.Module, name the layers, write the forward pass; the rest follows."""

import naiad as torch
import naiad.nn as nn


class SimpleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 32)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(32, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        x = self.relu(self.fc1(x))
        return self.sigmoid(self.fc2(x))


torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = SimpleNet().to(device)
print(model)

# Is the sum of ten numbers positive?
x = torch.randn(512, 10, device=device)
y = (x.sum(dim=1, keepdim=True) > 0).float()

criterion = nn.BCELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(100):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    if (epoch + 1) % 20 == 0:
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

with torch.no_grad():
    accuracy = ((model(x) > 0.5) == (y > 0.5)).float().mean()
print(f"accuracy: {100 * accuracy.item():.1f}%")
