"""Programs around transformers and language models: masked words, relative positions, translation, decoding."""

from __future__ import annotations

import math
from typing import Any

from .run import Run


def bert(run: Run) -> list[float]:
    """BERT: words masked at random by NumPy's numbers, padding masks, weights tied to the head, linear decay."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    pad, mask_token, vocabulary = 0, 1, 20

    class Attention(nn.Module):
        def __init__(self, hidden: int, heads: int) -> None:
            super().__init__()
            self.heads, self.size = heads, hidden // heads
            self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
            self.output, self.norm, self.dropout = (
                nn.Linear(hidden, hidden),
                nn.LayerNorm(hidden, 1e-12),
                nn.Dropout(0.0),
            )

        def transpose_for_scores(self, x: Any) -> Any:
            return x.view(x.size()[:-1] + (self.heads, self.size)).permute(0, 2, 1, 3)

        def forward(self, x: Any, mask: Any) -> Any:
            q, k, v = (self.transpose_for_scores(f(x)) for f in (self.query, self.key, self.value))
            scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size)
            probs = self.dropout(nn.Softmax(dim=-1)(scores + mask))
            context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
            return self.norm(self.output(context.view(context.size()[:-2] + (-1,))) + x)

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word, self.position = nn.Embedding(vocabulary, 8, padding_idx=pad), nn.Embedding(10, 8)
            self.segment, self.norm = nn.Embedding(2, 8), nn.LayerNorm(8, eps=1e-12)
            self.layer = nn.ModuleList(Attention(8, 2) for _ in range(1))
            self.transform = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8))
            self.bias = nn.Parameter(torch.zeros(vocabulary))
            self.register_buffer("position_ids", torch.arange(10).expand((1, -1)))
            self.apply(self._init_weights)

        def _init_weights(self, module: Any) -> None:
            if isinstance(module, nn.Linear):
                module.weight.data.normal_(mean=0.0, std=0.02)
                if module.bias is not None:
                    module.bias.data.zero_()
            elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight.data[module.padding_idx].zero_()

        def forward(self, ids: Any, segments: Any) -> Any:
            mask = (ids != pad)[:, None, None, :].to(dtype=self.word.weight.dtype)
            mask = (1.0 - mask) * torch.finfo(mask.dtype).min
            x = self.word(ids) + self.position(self.position_ids[:, : ids.size(1)]) + self.segment(segments)
            x = self.norm(x)
            for layer in self.layer:
                x = layer(x, mask)
            return F.linear(self.transform(x), self.word.weight, self.bias)

    model = run.weights(Bert())
    no_decay = ["bias", "norm.weight"]
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not any(nd in n for nd in no_decay)], "weight_decay": 0.01},
        {"params": [p for n, p in named if any(nd in n for nd in no_decay)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-3, eps=1e-6)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 4))
    losses = []
    for _ in range(2):
        ids = run.integers(2, vocabulary, 3, 6)
        ids[1, 4:] = pad
        masked = (run.uniform(3, 6) < 0.4) & (ids != pad)
        labels = ids.clone()
        labels[~masked] = -100
        inputs = ids.masked_fill(masked, mask_token)
        segments = torch.zeros_like(ids)
        segments[:, 3:] = 1
        logits = model(inputs, segments)
        loss = F.cross_entropy(logits.view(-1, vocabulary), labels.view(-1))
        model.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        correct = (logits.argmax(-1) == labels)[masked].float().mean()
        losses += [loss.item(), correct.item(), scheduler.get_last_lr()[0]]
    return losses


def t5(run: Run) -> list[float]:
    """T5: positions in logarithmic buckets, their learned bias added to the scores, shifted decoder inputs."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    def relative_position_bucket(relative: Any, buckets: int = 8, max_distance: int = 16) -> Any:
        buckets //= 2
        bucket = (relative > 0).to(torch.long) * buckets
        relative = torch.abs(relative)
        max_exact = buckets // 2
        is_small = relative < max_exact
        large = max_exact + (
            torch.log(relative.float() / max_exact) / math.log(max_distance / max_exact) * (buckets - max_exact)
        ).to(torch.long)
        large = torch.min(large, torch.full_like(large, buckets - 1))
        bucket += torch.where(is_small, relative, large)
        return bucket

    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.o = nn.Linear(8, 24, bias=False), nn.Linear(8, 8, bias=False)
            self.relative_attention_bias = nn.Embedding(8, 2)

        def bias(self, length: int) -> Any:
            device = self.relative_attention_bias.weight.device
            context = torch.arange(length, dtype=torch.long, device=device)[:, None]
            memory = torch.arange(length, dtype=torch.long, device=device)[None, :]
            values = self.relative_attention_bias(relative_position_bucket(memory - context))
            return values.permute([2, 0, 1]).unsqueeze(0)

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = self.qkv(x).view(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
            causal = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
            scores = (q @ k.transpose(3, 2)).masked_fill(~causal, torch.finfo(q.dtype).min)
            scores += self.bias(t)
            weights = F.softmax(scores.float(), dim=-1).type_as(scores)
            return x + self.o((weights @ v).transpose(1, 2).reshape(b, t, -1))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.attention, self.norm = nn.Embedding(12, 8), SelfAttention(), nn.RMSNorm(8)

        def _shift_right(self, ids: Any) -> Any:
            shifted = ids.new_zeros(ids.shape)
            shifted[..., 1:] = ids[..., :-1].clone()
            shifted.masked_fill_(shifted == -100, 0)
            return shifted

        def forward(self, labels: Any) -> Any:
            x = self.norm(self.attention(self.shared(self._shift_right(labels))))
            return (x * (8**-0.5)) @ self.shared.weight.T

    model = run.weights(Decoder())
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        labels = run.integers(1, 12, 2, 7)
        labels[0, -2:] = -100
        logits = model(labels)
        loss = nn.CrossEntropyLoss(ignore_index=-100)(logits.view(-1, logits.size(-1)), labels.view(-1))
        z_loss = 1e-4 * logits.logsumexp(dim=-1).square().sum()
        optimizer.zero_grad()
        (loss + z_loss).backward()
        optimizer.step()
        losses += [loss.item(), z_loss.item()]
    return losses


def translation(run: Run) -> list[float]:
    """nn.Transformer: sines for positions, source and target masks, the schedule with warm-up, greedy decoding."""
    torch = run.torch
    nn = torch.nn

    class PositionalEncoding(nn.Module):
        def __init__(self, size: int, maxlen: int = 10) -> None:
            super().__init__()
            den = torch.exp(-torch.arange(0, size, 2) * math.log(10000) / size)
            pos = torch.arange(0, maxlen).reshape(maxlen, 1)
            table = torch.zeros((maxlen, size))
            table[:, 0::2] = torch.sin(pos * den)
            table[:, 1::2] = torch.cos(pos * den)
            self.dropout = nn.Dropout(0.0)
            self.register_buffer("pos_embedding", table.unsqueeze(-2))

        def forward(self, x: Any) -> Any:
            return self.dropout(x + self.pos_embedding[: x.size(0), :])

    class Seq2SeqTransformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = nn.Transformer(8, 2, 1, 1, dim_feedforward=16, dropout=0.0)
            self.generator, self.embedding = nn.Linear(8, 12), nn.Embedding(12, 8)
            self.positions = PositionalEncoding(8)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.xavier_uniform_(p)

        def embed(self, tokens: Any) -> Any:
            return self.positions(self.embedding(tokens.long()) * math.sqrt(8))

        def forward(self, src: Any, tgt: Any) -> Any:
            tgt_mask = self.transformer.generate_square_subsequent_mask(tgt.shape[0]).to(tgt.device) < 0
            src_mask = torch.zeros((src.shape[0], src.shape[0]), device=src.device).type(torch.bool)
            src_pad, tgt_pad = (src == 0).transpose(0, 1), (tgt == 0).transpose(0, 1)
            args = (src_mask, tgt_mask, None, src_pad, tgt_pad, src_pad)
            return self.generator(self.transformer(self.embed(src), self.embed(tgt), *args))

    model = run.weights(Seq2SeqTransformer())
    criterion = nn.CrossEntropyLoss(ignore_index=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: 8**-0.5 * min((s + 1) ** -0.5, (s + 1) * 4**-1.5)
    )
    losses = []
    for _ in range(2):
        src, tgt = run.integers(1, 12, 5, 2), run.integers(1, 12, 4, 2)
        src[3:, 1] = 0
        logits = model(src, tgt[:-1, :])
        loss = criterion(logits.reshape(-1, logits.shape[-1]), tgt[1:, :].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    ys = torch.ones(1, 1).fill_(2).type(torch.long).to(run.device)
    with torch.no_grad():
        for _ in range(2):
            probability = model(src[:, :1], ys)[-1]
            _, word = torch.max(probability, dim=1)
            ys = torch.cat([ys, torch.ones(1, 1).type_as(ys.data).fill_(word.item())], dim=0)
    return [*losses, *ys.flatten().tolist()]


def beam_search(run: Run) -> list[float]:
    """Decoding: beams kept by their summed log-probabilities, then top-k, nucleus and repetition filters."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    embedding, head = run.weights(nn.Embedding(9, 8)), run.weights(nn.Linear(8, 9))

    @torch.inference_mode()
    def search(beams: int = 3, steps: int = 3) -> tuple[Any, Any]:
        sequences = torch.zeros(beams, 1, dtype=torch.long, device=run.device)
        scores = torch.full((beams,), float("-inf"), device=run.device)
        scores[0] = 0.0
        for _ in range(steps):
            logits = head(torch.tanh(embedding(sequences).sum(dim=1)))
            candidates = scores[:, None] + F.log_softmax(logits, dim=-1)
            scores, flat = torch.topk(candidates.view(-1), beams, largest=True, sorted=True)
            beam, token = torch.div(flat, candidates.size(-1), rounding_mode="floor"), flat % candidates.size(-1)
            sequences = torch.cat([sequences.index_select(0, beam), token.unsqueeze(1)], dim=-1)
        return sequences, scores

    def filtered(logits: Any, top_k: int, top_p: float) -> Any:
        v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
        logits[logits < v[:, [-1]]] = -float("Inf")
        sorted_logits, sorted_indices = torch.sort(logits, descending=True)
        cumulative = torch.cumsum(F.softmax(sorted_logits, dim=-1), dim=-1)
        remove = cumulative > top_p
        remove[..., 1:] = remove[..., :-1].clone()
        remove[..., 0] = 0
        return logits.masked_fill(remove.scatter(1, sorted_indices, remove), float("-inf"))

    sequences, scores = search()
    with torch.no_grad():
        logits = head(embedding(sequences[:, -1])) / 0.8
        score = torch.gather(logits, 1, sequences)
        logits.scatter_(1, sequences, torch.where(score < 0, score * 1.2, score / 1.2))
        probs = F.softmax(filtered(logits, 5, 0.9), dim=-1)
        drawn = torch.multinomial(probs, num_samples=1)
    assert (probs.gather(1, drawn) > 0).all()
    entropy = -torch.sum(torch.where(probs > 0, probs * probs.log(), torch.zeros_like(probs)), dim=-1)
    return [*sequences.flatten().tolist(), *scores.tolist(), *entropy.tolist(), (probs > 0).sum().item()]
