"""Programs that learn from graphs and sound: graph convolution and attention, speech by connectionist labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .run import Run


def graph_networks(run: Run) -> list[float]:
    """A graph convolution and a graph attention layer, trained on the labelled part of the nodes."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class GraphConvolution(nn.Module):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.FloatTensor(in_features, out_features))
            self.bias = nn.Parameter(torch.FloatTensor(out_features))
            bound = 1.0 / math.sqrt(self.weight.size(1))
            self.weight.data.uniform_(-bound, bound)
            self.bias.data.uniform_(-bound, bound)

        def forward(self, input: Any, adj: Any) -> Any:
            return torch.mm(adj, torch.mm(input, self.weight)) + self.bias

    class GraphAttention(nn.Module):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.empty(size=(in_features, out_features)))
            nn.init.xavier_uniform_(self.W.data, gain=1.414)
            self.a = nn.Parameter(torch.empty(size=(2 * out_features, 1)))
            nn.init.xavier_uniform_(self.a.data, gain=1.414)
            self.out_features = out_features
            self.leakyrelu = nn.LeakyReLU(0.2)

        def forward(self, h: Any, adj: Any) -> Any:
            Wh = torch.mm(h, self.W)
            first = torch.matmul(Wh, self.a[: self.out_features, :])
            second = torch.matmul(Wh, self.a[self.out_features :, :])
            e = self.leakyrelu(first + second.T)
            attention = F.softmax(torch.where(adj > 0, e, -9e15 * torch.ones_like(e)), dim=1)
            return F.elu(torch.matmul(attention, Wh))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gc1, self.gc2 = GraphConvolution(6, 8), GraphAttention(8, 3)

        def forward(self, x: Any, adj: Any) -> Any:
            x = F.dropout(F.relu(self.gc1(x, adj)), 0.0, training=self.training)
            return F.log_softmax(self.gc2(x, adj), dim=1)

    model = run.weights(Net())
    adj = (run.random.random((7, 7)) > 0.5).astype(np.float32)
    adj = run.tensor(adj / (adj.sum(1, keepdims=True) + 1))
    features = torch.FloatTensor(run.random.standard_normal((7, 6))).to(run.device)
    labels = torch.LongTensor(run.random.integers(0, 3, 7)).to(run.device)
    idx_train = torch.LongTensor(range(5)).to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    losses = []
    for _ in range(4):
        model.train()
        optimizer.zero_grad()
        output = model(features, adj)
        loss = F.nll_loss(output[idx_train], labels[idx_train])
        preds = output[idx_train].max(1)[1].type_as(labels)
        correct = preds.eq(labels[idx_train]).double().sum()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), correct.item()]
    return losses


def speech(run: Run) -> list[float]:
    """Speech recognition: convolution over time, bidirectional LSTM with projection, CTC."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Acoustic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(5, 8, 3, padding=1, padding_mode="replicate")
            self.norm = nn.BatchNorm1d(8)
            self.lstm = nn.LSTM(8, 6, 1, bidirectional=True, proj_size=4)
            self.fc = nn.Linear(8, 6)

        def forward(self, x: Any) -> Any:
            h = F.hardtanh(self.norm(self.conv(x)), 0, 20)
            out, _ = self.lstm(h.permute(2, 0, 1))
            return F.log_softmax(self.fc(out), dim=-1)

    model = run.weights(Acoustic())
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        log_probs = model(run.normal(2, 5, 6))
        targets = run.integers(1, 6, 2, 3)
        lengths = torch.full((2,), 6, dtype=torch.long)
        loss = criterion(log_probs, targets, lengths, torch.tensor([3, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
