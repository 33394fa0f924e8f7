"""Programs that learn by comparing: triplets, pictures with words, two views of one thing, a queue of keys."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .run import Run


def siamese(run: Run) -> list[float]:
    """Siamese network: triplet and contrastive losses, the hardest triplets of a batch by masks."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    model = run.weights(nn.Sequential(nn.Linear(6, 16), nn.PReLU(), nn.Linear(16, 4)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def batch_hard(embeddings: Any, labels: Any, margin: float = 0.5) -> Any:
        distance = torch.cdist(embeddings, embeddings, p=2)
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        other = same & ~torch.eye(labels.size(0), dtype=torch.bool, device=labels.device)
        hardest_positive = (distance * other.float()).max(1, keepdim=True)[0]
        hardest_negative = distance.masked_fill(same, float("inf")).min(1, keepdim=True)[0]
        return F.relu(hardest_positive - hardest_negative + margin).mean()

    losses = []
    for _ in range(3):
        anchor, positive, negative = model(run.normal(4, 6)), model(run.normal(4, 6)), model(run.normal(4, 6))
        loss = nn.TripletMarginLoss(margin=1.0, p=2)(anchor, positive, negative)
        loss = loss + nn.CosineEmbeddingLoss(margin=0.2)(anchor, positive, 2 * run.integers(0, 2, 4).float() - 1)
        loss = loss + nn.MarginRankingLoss(0.1)(anchor[:, 0], positive[:, 0], torch.ones(4, device=run.device))
        distance = F.pairwise_distance(anchor, negative, keepdim=True)
        loss = loss + torch.mean(torch.pow(torch.clamp(1.0 - distance, min=0.0), 2))
        labels = torch.tensor([0, 0, 1, 1, 2, 2], device=run.device)
        loss = loss + batch_hard(F.normalize(model(run.normal(6, 6)), p=2, dim=1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def clip(run: Run) -> list[float]:
    """CLIP: pictures and words into one space, a learned and clamped temperature, cross entropy both ways."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class CLIP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.token_embedding = nn.Linear(12, 8, bias=False), nn.Embedding(20, 8)
            self.text_projection = nn.Parameter(torch.empty(8, 8))
            nn.init.normal_(self.text_projection, std=8**-0.5)
            self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.07))

        def forward(self, image: Any, text: Any) -> Any:
            image_features = self.visual(image.flatten(1))
            x = self.token_embedding(text)
            x = x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection
            image_features = image_features / image_features.norm(dim=1, keepdim=True)
            text_features = x / x.norm(dim=1, keepdim=True)
            logits = self.logit_scale.exp() * image_features @ text_features.t()
            return logits, logits.t()

    model = run.weights(CLIP())
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    losses = []
    for _ in range(3):
        per_image, per_text = model(run.normal(4, 3, 2, 2), run.integers(0, 20, 4, 5))
        labels = torch.arange(len(per_image), device=run.device)
        loss = (F.cross_entropy(per_image, labels) + F.cross_entropy(per_text, labels)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        losses += [loss.item(), model.logit_scale.item(), (per_image.argmax(-1) == labels).float().mean().item()]
    return losses


def simclr(run: Run) -> list[float]:
    """SimCLR: similarities of all pairs of two views, the diagonal and the positives taken out by masks."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    model = run.weights(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-6)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)

    def info_nce_loss(features: Any) -> tuple[Any, Any]:
        half = features.shape[0] // 2
        labels = torch.cat([torch.arange(half) for _ in range(2)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float().to(run.device)
        features = F.normalize(features, dim=1)
        similarity = torch.matmul(features, features.T)
        mask = torch.eye(labels.shape[0], dtype=torch.bool).to(run.device)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity = similarity[~mask].view(similarity.shape[0], -1)
        positives = similarity[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity[~labels.bool()].view(similarity.shape[0], -1)
        logits = torch.cat([positives, negatives], dim=1) / 0.07
        return logits, torch.zeros(logits.shape[0], dtype=torch.long).to(run.device)

    losses = []
    for _ in range(3):
        logits, labels = info_nce_loss(model(torch.cat([run.normal(3, 8), run.normal(3, 8)], dim=0)))
        loss = nn.CrossEntropyLoss()(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses += [loss.item(), optimizer.param_groups[0]["lr"]]
    return losses


def moco(run: Run) -> list[float]:
    """MoCo: a second encoder that follows by momentum, and a queue of its keys in a buffer."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class MoCo(nn.Module):
        def __init__(self, encoder: Any, dim: int = 4, size: int = 8) -> None:
            super().__init__()
            self.encoder_q, self.encoder_k, self.size = encoder, copy.deepcopy(encoder), size
            for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
                param_k.data.copy_(param_q.data)
                param_k.requires_grad = False
            self.register_buffer("queue", F.normalize(torch.from_numpy(run.random.standard_normal((dim, size))), dim=0))
            self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

        @torch.no_grad()
        def _momentum_update(self, momentum: float = 0.9) -> None:
            for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters(), strict=True):
                param_k.data = param_k.data * momentum + param_q.data * (1.0 - momentum)

        @torch.no_grad()
        def _dequeue_and_enqueue(self, keys: Any) -> None:
            pointer = int(self.queue_ptr)
            self.queue[:, pointer : pointer + keys.shape[0]] = keys.T
            self.queue_ptr[0] = (pointer + keys.shape[0]) % self.size

        def forward(self, im_q: Any, im_k: Any) -> Any:
            q = F.normalize(self.encoder_q(im_q), dim=1)
            with torch.no_grad():
                self._momentum_update()
                k = F.normalize(self.encoder_k(im_k), dim=1)
            l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
            l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
            self._dequeue_and_enqueue(k)
            return torch.cat([l_pos, l_neg], dim=1) / 0.2

    model = MoCo(run.weights(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)))).float().to(run.device)
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), 0.1, momentum=0.9)
    losses = []
    for _ in range(3):
        logits = model(run.normal(4, 6), run.normal(4, 6))
        loss = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long, device=run.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), model.queue.sum().item(), model.queue_ptr.item()]
    return losses
