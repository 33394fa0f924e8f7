"""The transformer classifier of every introduction, on synthetic sentences.

A sentence is a row of random words; its class decides which fifth of the dictionary most of its words come from.
"""

import naiad as torch
import naiad.nn as nn
from naiad.utils.data import DataLoader, TensorDataset

WORDS, CLASSES = 10000, 5
SENTENCES, LENGTH, BATCH, EPOCHS = 320, 32, 16, 2


class TextClassifier(nn.Module):
    def __init__(self, vocab_size, d_model, nhead, num_layers, num_classes):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        layer = nn.TransformerEncoderLayer(d_model=d_model, nhead=nhead, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=num_layers)
        self.fc = nn.Linear(d_model, num_classes)

    def forward(self, x):
        x = self.embedding(x)
        x = self.encoder(x)
        x = x.mean(dim=1)
        return self.fc(x)


torch.manual_seed(0)
labels = torch.randint(0, CLASSES, (SENTENCES,))
topical = labels.unsqueeze(1) * (WORDS // CLASSES) + torch.randint(0, WORDS // CLASSES, (SENTENCES, LENGTH))
anything = torch.randint(0, WORDS, (SENTENCES, LENGTH))
sentences = torch.where(torch.rand(SENTENCES, LENGTH) < 0.7, topical, anything)

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = TextClassifier(vocab_size=WORDS, d_model=256, nhead=4, num_layers=2, num_classes=CLASSES).to(device)
loader = DataLoader(TensorDataset(sentences, labels), batch_size=BATCH, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
criterion = nn.CrossEntropyLoss()

model.train()
for epoch in range(EPOCHS):
    total = 0.0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        output = model(x)
        loss = criterion(output, y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}")

torch.save(model.state_dict(), "model.pt")
