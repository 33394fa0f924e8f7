"""Programs around the model: data sets and loaders, whole modules saved, weights taken over, runs continued."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .run import Run


def padded_batches(run: Run) -> list[float]:
    """Sequences of several lengths: a data set, buckets as a batch sampler, a collate function that pads."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    data = import_module(torch.__name__ + ".utils.data")

    class Sentences(data.Dataset):
        def __init__(self, count: int) -> None:
            self.lengths = run.random.integers(2, 6, count)
            self.items = [run.random.integers(1, 9, n) for n in self.lengths]

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {
                "tokens": torch.from_numpy(self.items[index]),
                "label": int(self.items[index].sum() % 2),
                "id": index,
            }

    class Buckets(data.Sampler):
        def __init__(self, lengths: Any, size: int) -> None:
            self.order, self.size = np.argsort(lengths, kind="stable").tolist(), size

        def __iter__(self) -> Any:
            return (self.order[i : i + self.size] for i in range(0, len(self.order), self.size))

        def __len__(self) -> int:
            return (len(self.order) + self.size - 1) // self.size

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        tokens = [item["tokens"] for item in batch]
        return {
            "tokens": nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=0),
            "length": torch.tensor([len(t) for t in tokens]),
            "label": torch.as_tensor([item["label"] for item in batch], dtype=torch.float32),
            "id": [item["id"] for item in batch],
        }

    train = data.ConcatDataset([Sentences(4), data.Subset(Sentences(6), [0, 2, 5])])
    lengths = [len(train[i]["tokens"]) for i in range(len(train))]
    loader = data.DataLoader(train, batch_sampler=Buckets(lengths, 3), collate_fn=collate)
    embedding, head = run.weights(nn.Embedding(9, 4, padding_idx=0)), run.weights(nn.Linear(4, 1))
    optimizer = torch.optim.SGD([*embedding.parameters(), *head.parameters()], lr=0.5)
    losses: list[float] = [len(loader)]
    for batch in loader:
        tokens, label = batch["tokens"].to(run.device, non_blocking=True), batch["label"].to(run.device)
        mask = (tokens != 0).unsqueeze(-1)
        mean = (embedding(tokens) * mask).sum(1) / mask.sum(1)
        loss = F.binary_cross_entropy_with_logits(head(mean).squeeze(-1), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), float(batch["length"].sum()), *batch["id"]]
    return losses


def streamed_data(run: Run) -> list[float]:
    """An iterable data set, arrays collated by default, splits of a tensor data set, statistics while it streams."""
    torch = run.torch
    data = import_module(torch.__name__ + ".utils.data")

    class Stream(data.IterableDataset):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def __iter__(self) -> Any:
            worker = data.get_worker_info()
            assert worker is None
            for i in range(self.count):
                yield run.random.standard_normal(3).astype(np.float32), {"weight": 1.0 + i, "name": f"item {i}"}

    mean, total = torch.zeros(3, device=run.device), 0.0
    names: list[str] = []
    for arrays, facts in data.DataLoader(Stream(7), batch_size=3):
        weight = facts["weight"].to(run.device).float()
        assert facts["weight"].dtype is torch.float64
        total += weight.sum().item()
        mean += weight @ arrays.to(run.device)
        names.extend(facts["name"])
    assert names == [f"item {i}" for i in range(7)]
    whole = data.TensorDataset(torch.arange(10).view(5, 2), torch.arange(5))
    parts = data.random_split(whole, [0.6, 0.4], generator=torch.Generator().manual_seed(42))
    seen = sorted(label.item() for part in parts for _, label in part)
    loader = data.DataLoader(whole, batch_size=2, sampler=data.SubsetRandomSampler([1, 3]), drop_last=True)
    drawn = sorted(next(iter(loader))[1].tolist())
    return [*(mean / total).tolist(), total, len(parts[0]), *seen, *drawn]


@functools.cache
def _classifier(torch: Any) -> type:
    """The class of a saved module is found again by its name, so each library has one at this module's top."""
    nn = torch.nn
    name = f"Net_of_{torch.__name__}"

    class Net(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
            self.fc = nn.Linear(6, classes)

        def forward(self, x: Any) -> Any:
            return self.fc(self.backbone(x))

    Net.__name__ = Net.__qualname__ = name
    globals()[name] = Net
    return Net


def transfer(run: Run) -> list[float]:
    """Fine-tuning: a whole module saved and loaded, keys renamed, those of another shape left out, a twin optimizer."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    Net = _classifier(torch)
    trained = run.weights(Net(5))
    for _ in range(2):
        trained(run.normal(6, 4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        torch.save(trained, path)
        loaded = torch.load(path, map_location=run.device, weights_only=False)
        torch.save({"state_dict": nn.DataParallel(trained).state_dict(), "args": {"lr": 0.1}}, path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    assert type(loaded) is Net
    state = OrderedDict((key.replace("module.", ""), value) for key, value in checkpoint["state_dict"].items())
    model = run.weights(Net(3))
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    missing = model.load_state_dict(fitting, strict=False).missing_keys
    assert missing == ["fc.weight", "fc.bias"]
    model.backbone.eval().requires_grad_(False)
    lr = checkpoint["args"]["lr"]
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=lr)
    losses = [loaded(run.normal(6, 4)).sum().item()]
    for _ in range(2):
        loss = F.cross_entropy(model(run.normal(6, 4)), run.integers(0, 3, 6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    twin = copy.deepcopy(model)
    other = torch.optim.Adam(twin.fc.parameters(), lr=1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    x, y = run.normal(6, 4), run.integers(0, 3, 6)
    for net, steps in ((model, optimizer), (twin, other)):
        steps.zero_grad()
        F.cross_entropy(net(x), y).backward()
        steps.step()
    assert torch.equal(model.fc.weight, twin.fc.weight) and model.fc.weight is not twin.fc.weight
    return [*losses, twin.fc.weight.sum().item(), model.backbone[1].running_mean.sum().item()]
