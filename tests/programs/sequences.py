"""Programs over time: a language model by LSTM, state-space scan, dilated convolution, speech synthesis."""

from __future__ import annotations

import math
from typing import Any

from .run import Run


def lstm_language_model(run: Run) -> list[float]:
    """LSTM language model: tied weights, hidden states carried and detached, clipping, lower rates on plateaus."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class RNNModel(nn.Module):
        def __init__(self, ntoken: int = 12, size: int = 8) -> None:
            super().__init__()
            self.ntoken, self.size = ntoken, size
            self.drop, self.encoder = nn.Dropout(0.0), nn.Embedding(ntoken, size)
            self.rnn, self.decoder = nn.LSTM(size, size, 1), nn.Linear(size, ntoken)
            self.decoder.weight = self.encoder.weight
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, input: Any, hidden: Any) -> Any:
            output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
            decoded = self.decoder(self.drop(output)).view(-1, self.ntoken)
            return F.log_softmax(decoded, dim=1), hidden

        def init_hidden(self, batch: int) -> Any:
            weight = next(self.parameters())
            return weight.new_zeros(1, batch, self.size), weight.new_zeros(1, batch, self.size)

    def repackage(h: Any) -> Any:
        return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage(v) for v in h)

    model = run.weights(RNNModel())
    corpus = run.integers(0, 12, 3 * 9 + 1)
    source = corpus.narrow(0, 0, 27).view(3, -1).t().contiguous()
    criterion, lr, hidden, losses = nn.NLLLoss(), 5.0, model.init_hidden(3), []
    for i in range(0, source.size(0) - 1, 4):
        length = min(4, len(source) - 1 - i)
        data, targets = source[i : i + length], source[i + 1 : i + 1 + length].view(-1)
        model.zero_grad()
        hidden = repackage(hidden)
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)
        losses += [loss.item(), math.exp(loss.item())]
        lr /= 4.0
    return losses


def selective_scan(run: Run) -> list[float]:
    """A selective state-space layer: steps by softplus, the scan in logarithms by cumulative sums, causal depthwise."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Mamba(nn.Module):
        def __init__(self, dim: int = 6, state: int = 3) -> None:
            super().__init__()
            self.state = state
            self.in_proj, self.out_proj = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, dim, bias=False)
            self.conv = nn.Conv1d(dim, dim, 3, groups=dim, padding=2)
            self.x_proj, self.dt_proj = nn.Linear(dim, 2 * state, bias=False), nn.Linear(dim, dim)
            self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32)).repeat(dim, 1))
            self.D = nn.Parameter(torch.ones(dim))
            self.A_log._no_weight_decay = True

        def forward(self, x: Any) -> Any:
            x, gate = self.in_proj(x).chunk(2, dim=-1)
            x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
            B, C = torch.split(self.x_proj(x), [self.state, self.state], dim=-1)
            delta = F.softplus(self.dt_proj(x))
            log_decay = torch.einsum("bld,dn->bldn", delta, -torch.exp(self.A_log))
            drive = torch.einsum("bld,bln,bld->bldn", delta, B, x)
            total = log_decay.cumsum(dim=1)
            pairs = total.unsqueeze(2) - total.unsqueeze(1)
            causal = torch.ones(x.shape[1], x.shape[1], device=x.device).tril().bool()[None, :, :, None, None]
            h = (pairs.masked_fill(~causal, -torch.inf).exp() * drive.unsqueeze(1)).sum(dim=2)
            y = torch.einsum("bldn,bln->bld", h, C) + x * self.D
            return self.out_proj(y * F.silu(gate))

    model = run.weights(Mamba())
    plain = [p for p in model.parameters() if getattr(p, "_no_weight_decay", False)]
    rest = [p for p in model.parameters() if not getattr(p, "_no_weight_decay", False)]
    assert len(plain) == 1
    optimizer = torch.optim.AdamW([{"params": rest}, {"params": plain, "weight_decay": 0.0}], lr=1e-2)
    losses = []
    for _ in range(2):
        x = run.normal(2, 5, 6)
        loss = F.mse_loss(model(x)[:, :-1], x[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def wavenet(run: Run) -> list[float]:
    """WaveNet: dilated causal convolutions with gates, skips summed, samples coded by the μ-law."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    levels = 16

    def mu_law(audio: Any) -> Any:
        mu = torch.tensor(levels - 1.0, device=audio.device)
        magnitude = torch.log1p(mu * torch.abs(audio)) / torch.log1p(mu)
        return ((torch.sign(audio) * magnitude + 1) / 2 * mu + 0.5).long()

    class CausalConv1d(nn.Conv1d):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.left = (self.kernel_size[0] - 1) * self.dilation[0]

        def forward(self, x: Any) -> Any:
            return super().forward(F.pad(x, (self.left, 0)))

    class WaveNet(nn.Module):
        def __init__(self, channels: int = 4) -> None:
            super().__init__()
            self.embed, self.blocks = nn.Embedding(levels, channels), nn.ModuleList()
            for dilation in (1, 2, 4):
                block = nn.ModuleDict()
                block["filter"] = CausalConv1d(channels, channels, 2, dilation=dilation)
                block["gate"] = CausalConv1d(channels, channels, 2, dilation=dilation)
                block["residual"], block["skip"] = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)
                self.blocks.append(block)
            self.out = nn.Conv1d(channels, levels, 1)

        def forward(self, x: Any) -> Any:
            x, skips = self.embed(x).transpose(1, 2), []
            for block in self.blocks:
                h = torch.tanh(block["filter"](x)) * torch.sigmoid(block["gate"](x))
                skips.append(block["skip"](h))
                x = x + block["residual"](h)
            return self.out(F.relu(sum(skips)))

    model = run.weights(WaveNet())
    optimizer = torch.optim.RAdam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        codes = mu_law(torch.sin(torch.cumsum(run.uniform(2, 9), dim=1)))
        loss = F.cross_entropy(model(codes[:, :-1]), codes[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def tacotron(run: Run) -> list[float]:
    """Speech synthesis: convolutions and an LSTM read letters, cells with attention write frames until a stop."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def lengths_to_mask(lengths: Any) -> Any:
        ids = torch.arange(0, int(torch.max(lengths).item()), device=lengths.device)
        return ids < lengths.unsqueeze(1)

    class Tacotron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.conv = nn.Embedding(10, 6), nn.Conv1d(6, 6, 5, padding=2)
            self.norm, self.lstm = nn.BatchNorm1d(6), nn.LSTM(6, 3, batch_first=True, bidirectional=True)
            self.cell, self.location = nn.LSTMCell(6 + 4, 6), nn.Conv1d(1, 6, 3, padding=1, bias=False)
            self.query, self.energy = nn.Linear(6, 6, bias=False), nn.Linear(6, 1, bias=False)
            self.frame, self.stop = nn.Linear(12, 4), nn.Linear(12, 1)

        def forward(self, text: Any, lengths: Any, frames: Any) -> Any:
            x = F.relu(self.norm(self.conv(self.embedding(text).transpose(1, 2)))).transpose(1, 2)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True)
            memory, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
            mask = ~lengths_to_mask(lengths)
            state = (memory.new_zeros(len(text), 6), memory.new_zeros(len(text), 6))
            context, weights = memory[:, 0], torch.zeros_like(memory[:, :, 0])
            outputs, stops = [], []
            for previous in frames.unbind(dim=1):
                state = self.cell(torch.cat([context, previous], dim=-1), state)
                query, location = self.query(state[0]).unsqueeze(1), self.location(weights.unsqueeze(1)).transpose(1, 2)
                energies = self.energy(torch.tanh(query + location + memory)).squeeze(-1)
                energies.data.masked_fill_(mask, -float("inf"))
                weights = F.softmax(energies, dim=1)
                context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
                both = torch.cat((state[0], context), dim=1)
                outputs.append(self.frame(both))
                stops.append(self.stop(both))
            return torch.stack(outputs, dim=1), torch.cat(stops, dim=1)

    model = run.weights(Tacotron())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        lengths = torch.tensor([4, 2], device=run.device)
        mel = run.normal(2, 2, 4)
        given = torch.cat((torch.zeros_like(mel[:, :1]), mel[:, :-1]), dim=1)
        frames, stops = model(run.integers(0, 10, 2, 4), lengths, given)
        gate = torch.zeros(2, 2, device=run.device)
        gate[:, -1] = 1
        loss = F.mse_loss(frames, mel) + nn.BCEWithLogitsLoss()(stops, gate)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
