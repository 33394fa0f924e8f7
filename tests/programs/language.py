"""Programs that learn from text: translation by attention, Llama, mixture of experts, word vectors."""

from __future__ import annotations

from typing import Any

from .run import Run


def seq2seq(run: Run) -> list[float]:
    """Translation: a packed bidirectional GRU, additive attention, teacher forcing at every other step."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(12, 8, padding_idx=0)
            self.rnn = nn.GRU(8, 8, bidirectional=True, batch_first=True)
            self.fc = nn.Linear(16, 8)

        def forward(self, src: Any, lengths: Any) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embedding(src), lengths.to("cpu"), batch_first=True, enforce_sorted=False
            )
            outputs, hidden = self.rnn(packed)
            outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
            return outputs, torch.tanh(self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.attention = nn.Embedding(12, 8), nn.Linear(24, 8)
            self.v, self.rnn, self.out = nn.Linear(8, 1, bias=False), nn.GRUCell(8 + 16, 8), nn.Linear(8, 12)

        def forward(self, token: Any, hidden: Any, encoded: Any, mask: Any) -> Any:
            repeated = hidden.unsqueeze(1).repeat(1, encoded.size(1), 1)
            energy = torch.tanh(self.attention(torch.cat([repeated, encoded], dim=2)))
            scores = F.softmax(self.v(energy).squeeze(2).masked_fill(mask == 0, -1e10), dim=1)
            weighted = torch.bmm(scores.unsqueeze(1), encoded).squeeze(1)
            hidden = self.rnn(torch.cat((self.embedding(token), weighted), 1), hidden)
            return self.out(hidden), hidden

    encoder, decoder = run.weights(Encoder()), run.weights(Decoder())
    parameters = list(encoder.parameters()) + list(decoder.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    losses = []
    for _ in range(2):
        lengths = torch.tensor([5, 3, 4], device=run.device)
        src = run.integers(1, 12, 3, 5) * (torch.arange(5, device=run.device)[None, :] < lengths[:, None])
        trg = run.integers(1, 12, 3, 4)
        encoded, hidden = encoder(src, lengths)
        loss, token = 0, trg[:, 0]
        for t in range(1, 4):
            output, hidden = decoder(token, hidden, encoded, src != 0)
            loss += F.cross_entropy(output, trg[:, t], ignore_index=0)
            token = trg[:, t] if t % 2 else output.argmax(1)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses += [loss.item(), float(norm)]
    return losses


def llama(run: Run) -> list[float]:
    """Llama: rotary embedding by complex numbers, grouped queries, RMS norms, gated units, tied weights."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def precompute_freqs_cis(dim: int, end: int, theta: float = 10000.0) -> Any:
        freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
        t = torch.arange(end, device=freqs.device, dtype=torch.float32)
        freqs = torch.outer(t, freqs)
        return torch.polar(torch.ones_like(freqs), freqs)

    def apply_rotary_emb(xq: Any, xk: Any, freqs_cis: Any) -> Any:
        xq_ = torch.view_as_complex(xq.float().reshape(*xq.shape[:-1], -1, 2))
        xk_ = torch.view_as_complex(xk.float().reshape(*xk.shape[:-1], -1, 2))
        freqs_cis = freqs_cis.view(1, xq_.shape[1], 1, xq_.shape[-1])
        xq_out = torch.view_as_real(xq_ * freqs_cis).flatten(3)
        xk_out = torch.view_as_real(xk_ * freqs_cis).flatten(3)
        return xq_out.type_as(xq), xk_out.type_as(xk)

    class RMSNorm(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.eps = eps
            self.weight = nn.Parameter(torch.ones(dim))

        def _norm(self, x: Any) -> Any:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

        def forward(self, x: Any) -> Any:
            return self._norm(x.float()).type_as(x) * self.weight

    class Block(nn.Module):
        def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
            super().__init__()
            self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
            self.wq, self.wo = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
            self.wk = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
            self.wv = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
            self.w1, self.w3 = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
            self.w2 = nn.Linear(2 * dim, dim, bias=False)
            self.attention_norm, self.ffn_norm = RMSNorm(dim), nn.RMSNorm(dim, eps=1e-6)

        def forward(self, x: Any, freqs_cis: Any) -> Any:
            b, t, _ = x.shape
            h = self.attention_norm(x)
            q = self.wq(h).view(b, t, self.heads, self.head_dim)
            k = self.wk(h).view(b, t, self.kv_heads, self.head_dim)
            v = self.wv(h).view(b, t, self.kv_heads, self.head_dim)
            q, k = apply_rotary_emb(q, k, freqs_cis)
            k, v = (torch.repeat_interleave(z, dim=2, repeats=self.heads // self.kv_heads) for z in (k, v))
            q, k, v = (z.transpose(1, 2) for z in (q, k, v))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.wo(o.transpose(1, 2).contiguous().view(b, t, -1))
            h = self.ffn_norm(x)
            return x + self.w2(F.silu(self.w1(h)) * self.w3(h))

    class Llama(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tok_embeddings = nn.Embedding(20, 16)
            self.layers = nn.ModuleList([Block(16, 4, 2)])
            self.norm, self.output = RMSNorm(16), nn.Linear(16, 20, bias=False)
            self.tok_embeddings.weight = self.output.weight
            self.register_buffer("freqs_cis", precompute_freqs_cis(4, 8), persistent=False)

        def forward(self, tokens: Any, targets: Any) -> Any:
            h = self.tok_embeddings(tokens)
            for layer in self.layers:
                h = layer(h, self.freqs_cis[: tokens.shape[1]])
            logits = self.output(self.norm(h))
            return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    model = run.weights(Llama())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=False)
    losses = []
    for _ in range(3):
        x = run.integers(0, 20, 2, 7)
        loss = model(x[:, :-1].contiguous(), x[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mixture_of_experts(run: Run) -> list[float]:
    """Sparse mixture of experts: top-k routing, rows gathered for each expert and added back."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class SparseMoE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(8, 4, bias=False)
            self.experts = nn.ModuleList(
                [nn.Sequential(nn.Linear(8, 16), nn.GELU(approximate="tanh"), nn.Linear(16, 8)) for _ in range(4)]
            )

        def forward(self, hidden: Any) -> Any:
            b, t, dim = hidden.shape
            hidden = hidden.view(-1, dim)
            router_logits = self.gate(hidden)
            weights = F.softmax(router_logits, dim=1, dtype=torch.float)
            weights, selected = torch.topk(weights, 2, dim=-1)
            weights /= weights.sum(dim=-1, keepdim=True)
            weights = weights.to(hidden.dtype)
            final = torch.zeros((b * t, dim), dtype=hidden.dtype, device=hidden.device)
            expert_mask = F.one_hot(selected, num_classes=4).permute(2, 1, 0)
            for expert in range(4):
                index, top = torch.where(expert_mask[expert])
                current = hidden[None, top].reshape(-1, dim)
                output = self.experts[expert](current) * weights[top, index, None]
                final.index_add_(0, top, output.to(hidden.dtype))
            return final.reshape(b, t, dim), router_logits

    model = run.weights(SparseMoE())
    optimizer = torch.optim.Adagrad(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        x = run.normal(2, 5, 8)
        y, logits = model(x)
        loss = (y - x).square().mean() + 1e-2 * logits.logsumexp(-1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def word2vec(run: Run) -> list[float]:
    """Word vectors by negative sampling: embedding bags, weight norm, bilinear form, schedules in sequence."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Word2Vec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u = nn.EmbeddingBag(20, 8, mode="mean")
            self.v = nn.Embedding(20, 8, max_norm=None, scale_grad_by_freq=True)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
            self.bilinear = nn.Bilinear(8, 8, 1)

        def forward(self, context: Any, offsets: Any, positive: Any, negative: Any) -> Any:
            h = self.normed(self.u(context, offsets))
            score = torch.bmm(self.v(positive).unsqueeze(1), h.unsqueeze(2)).squeeze()
            negative_score = torch.bmm(self.v(negative).neg(), h.unsqueeze(2)).squeeze(2)
            loss = -(F.logsigmoid(score) + F.logsigmoid(negative_score).sum(1)).mean()
            return loss + 0.1 * self.bilinear(h, self.v(positive)).tanh().mean()

    model = run.weights(Word2Vec())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5, dampening=0.1)
    schedules = torch.optim.lr_scheduler
    scheduler = schedules.SequentialLR(
        optimizer,
        [schedules.LinearLR(optimizer, 0.5, total_iters=2), schedules.CosineAnnealingLR(optimizer, 5)],
        milestones=[2],
    )
    losses = []
    for _ in range(4):
        offsets = torch.tensor([0, 3, 5], device=run.device)
        loss = model(run.integers(0, 20, 9), offsets, run.integers(0, 20, 3), run.integers(0, 20, 3, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses += [loss.item(), optimizer.param_groups[0]["lr"]]
    return losses
