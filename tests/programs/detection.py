"""Programs that find things: boxes coded against anchors, overlaps and their suppression, points in space."""

from __future__ import annotations

from typing import Any

from .run import Run


def box_detector(run: Run) -> list[float]:
    """Region proposals: anchors matched by overlap, coded boxes, smooth L1 on the positives, suppression by hand."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def box_iou(a: Any, b: Any) -> Any:
        area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
        area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        lt, rb = torch.max(a[:, None, :2], b[:, :2]), torch.min(a[:, None, 2:], b[:, 2:])
        wh = (rb - lt).clamp(min=0)
        inter = wh[:, :, 0] * wh[:, :, 1]
        return inter / (area_a[:, None] + area_b - inter)

    def encode(boxes: Any, anchors: Any) -> Any:
        size, anchor_size = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
        centre, anchor_centre = boxes[:, :2] + size / 2, anchors[:, :2] + anchor_size / 2
        return torch.cat(((centre - anchor_centre) / anchor_size, torch.log(size / anchor_size)), dim=1)

    def decode(deltas: Any, anchors: Any) -> Any:
        size = anchors[:, 2:] - anchors[:, :2]
        centre = deltas[:, :2] * size + anchors[:, :2] + 0.5 * size
        half = 0.5 * torch.exp(deltas[:, 2:].clamp(max=4.135)) * size
        return torch.stack((centre - half, centre + half), dim=1).reshape(-1, 4)

    def nms(boxes: Any, scores: Any, threshold: float) -> Any:
        order, keep = scores.argsort(descending=True), []
        while order.numel() > 0:
            best = order[0]
            keep.append(best.item())
            if order.numel() == 1:
                break
            overlap = box_iou(boxes[best].unsqueeze(0), boxes[order[1:]]).squeeze(0)
            order = order[1:][overlap <= threshold]
        return torch.as_tensor(keep, dtype=torch.int64, device=boxes.device)

    shifts = torch.arange(0, 4, device=run.device) * 4.0
    shift_y, shift_x = torch.meshgrid(shifts, shifts, indexing="ij")
    shifts = torch.stack((shift_x, shift_y, shift_x, shift_y), dim=-1).reshape(-1, 1, 4)
    base = torch.tensor([[-3.0, -3.0, 3.0, 3.0], [-5.0, -2.5, 5.0, 2.5]], device=run.device)
    anchors = (shifts + base).reshape(-1, 4)
    model = run.weights(nn.Conv2d(3, 2 * 5, 4, stride=4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(2):
        images = run.normal(1, 3, 16, 16)
        corner = run.uniform(2, 2) * 8
        truth = torch.cat([corner, corner + 2 + run.uniform(2, 2) * 6], dim=1)
        output = model(images).permute(0, 2, 3, 1).reshape(-1, 5)
        objectness, deltas = output[:, 0], output[:, 1:]
        quality, matches = box_iou(truth, anchors).max(dim=0)
        labels = torch.full_like(quality, -1.0)
        labels[quality < 0.3] = 0.0
        labels[quality >= 0.4] = 1.0
        positive = torch.where(labels == 1)[0]
        sampled = torch.nonzero(labels >= 0).squeeze(1)
        regression = encode(truth[matches[positive]], anchors[positive])
        loss_box = F.smooth_l1_loss(deltas[positive], regression, beta=1 / 9, reduction="sum") / sampled.numel()
        loss_class = F.binary_cross_entropy_with_logits(objectness[sampled], labels[sampled])
        optimizer.zero_grad()
        (loss_box + loss_class).backward()
        optimizer.step()
        losses += [loss_box.item(), loss_class.item(), positive.numel()]
    proposals = decode(deltas.detach(), anchors).clamp_(0, 16)
    scores = objectness.detach().sigmoid()
    keep = nms(proposals[:8], scores[:8], 0.3)
    return [*losses, len(keep), proposals[keep].sum().item()]


def yolo(run: Run) -> list[float]:
    """One-stage detection on a grid: offsets by sigmoid, focal objectness, cells of the targets by index."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    grid, anchors, classes = 3, torch.tensor([[1.0, 2.0], [2.0, 1.0]], device=run.device), 2
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 2 * (5 + classes), 1)]
    model = run.weights(nn.Sequential(*layers))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def focal(logits: Any, targets: Any, alpha: float = 0.25, gamma: float = 2.0) -> Any:
        p = torch.sigmoid(logits)
        cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        p_t = p * targets + (1 - p) * (1 - targets)
        return ((alpha * targets + (1 - alpha) * (1 - targets)) * cross * (1 - p_t) ** gamma).mean()

    losses = []
    for _ in range(2):
        output = model(run.normal(2, 3, 6, 6)).view(2, 2, 5 + classes, grid, grid).permute(0, 1, 3, 4, 2).contiguous()
        boxes, label = run.uniform(4, 4), run.integers(0, classes, 4)
        image = torch.tensor([0, 0, 1, 1], device=run.device)
        xy, wh = boxes[:, :2] * grid, boxes[:, 2:] * grid
        gi, gj = xy.long().t()
        ratio = wh[:, None] / anchors[None]
        best = torch.max(ratio, 1.0 / ratio).max(2)[0].argmin(1)
        chosen = output[image, best, gj, gi]
        pxy, pwh = chosen[:, :2].sigmoid() * 2 - 0.5, (chosen[:, 2:4].sigmoid() * 2) ** 2 * anchors[best]
        loss_box = F.l1_loss(torch.cat((pxy, pwh), 1), torch.cat((xy - xy.floor(), wh), 1))
        objectness = torch.zeros_like(output[..., 4])
        objectness[image, best, gj, gi] = 1.0
        one_hot = torch.zeros(4, classes, device=run.device)
        one_hot[range(4), label] = 1.0
        loss_class = F.binary_cross_entropy_with_logits(chosen[:, 5:], one_hot, pos_weight=torch.ones_like(one_hot))
        loss = 0.05 * loss_box + focal(output[..., 4], objectness) + 0.5 * loss_class
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item(), objectness.sum().item(), (output[..., 4].detach() > 0).sum().item()]
    return losses


def point_net(run: Run) -> list[float]:
    """PointNet: shared layers as 1-D convolutions, maximum over the points, a learned transform kept orthogonal."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Transform(nn.Module):
        def __init__(self, k: int) -> None:
            super().__init__()
            self.k, self.conv, self.bn, self.fc = k, nn.Conv1d(k, 8, 1), nn.BatchNorm1d(8), nn.Linear(8, k * k)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.bn(self.conv(x)))
            x = torch.max(x, 2, keepdim=True)[0].view(-1, 8)
            identity = torch.eye(self.k, device=x.device).flatten().view(1, -1).repeat(x.size(0), 1)
            return (self.fc(x) + identity).view(-1, self.k, self.k)

    class PointNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stn, self.conv1, self.conv2 = Transform(3), nn.Conv1d(3, 8, 1), nn.Conv1d(8, 16, 1)
            self.bn1, self.head = nn.BatchNorm1d(8), nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            transform = self.stn(x)
            x = torch.bmm(x.transpose(2, 1), transform).transpose(2, 1)
            x = self.conv2(F.relu(self.bn1(self.conv1(x))))
            return F.log_softmax(self.head(x.max(dim=-1).values), dim=1), transform

    def farthest_points(points: Any, count: int) -> Any:
        chosen = torch.zeros(points.shape[0], count, dtype=torch.long, device=points.device)
        distance = torch.ones(points.shape[:2], device=points.device) * 1e10
        farthest = torch.zeros(points.shape[0], dtype=torch.long, device=points.device)
        batch = torch.arange(points.shape[0], device=points.device)
        for i in range(count):
            chosen[:, i] = farthest
            centroid = points[batch, farthest, :].view(points.shape[0], 1, 3)
            distance = torch.minimum(distance, torch.sum((points - centroid) ** 2, -1))
            farthest = torch.max(distance, -1)[1]
        return points[batch[:, None], chosen]

    model = run.weights(PointNet())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-8, weight_decay=1e-4)
    losses = []
    for _ in range(2):
        points = farthest_points(run.normal(3, 8, 3), 5)
        output, transform = model(points.transpose(2, 1))
        orthogonal = torch.bmm(transform, transform.transpose(2, 1)) - torch.eye(3, device=run.device)[None, :, :]
        loss = F.nll_loss(output, run.integers(0, 4, 3)) + 1e-3 * torch.mean(torch.norm(orthogonal, dim=(1, 2)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
