"""The training programs of examples/ as single steps, on naiad or with PyTorch's import lines, at small sizes."""

import re
import sys
import types
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
IMPORTS = (
    (re.compile(r"^import naiad as torch$"), "import torch"),
    (re.compile(r"^import naiad\.(\S+) as (\w+)$"), r"import torch.\1 as \2"),
    (re.compile(r"^from naiad(\.\S+)? import "), r"from torch\1 import "),
)
CLASSIFIER = {
    "SENTENCES, LENGTH, BATCH, EPOCHS = 320, 32, 16, 2": "SENTENCES, LENGTH, BATCH, EPOCHS = 8, 8, 4, 1",
    "WORDS, CLASSES = 10000, 5": "WORDS, CLASSES = 50, 5",
    "d_model=256, nhead=4": "d_model=16, nhead=2",
    "batch_first=True": "batch_first=True, dim_feedforward=32",
    'torch.save(model.state_dict(), "model.pt")\n': "",
    '"cuda" if torch.cuda.is_available() else "cpu"': '"cpu"',
}


def as_pytorch(source):
    """The source with its import lines changed from naiad to PyTorch, and how many were."""
    lines, changed = source.splitlines(), 0
    for number, line in enumerate(lines):
        for pattern, replacement in IMPORTS:
            line, count = pattern.subn(replacement, line)
            changed += count
        lines[number] = line
    return "\n".join(lines) + "\n", changed


def load(program, library, monkeypatch):
    """A program as a module, of `library` "naiad" or "torch"."""
    for name in ("common", program.removesuffix(".py")):
        source = (EXAMPLES / f"{name}.py").read_text()
        for old, new in CLASSIFIER.items() if name == "text_classifier" else ():
            assert source.count(old) == 1
            source = source.replace(old, new)
        module = types.ModuleType(name)
        module.__file__ = str(EXAMPLES / f"{name}.py")
        monkeypatch.setitem(sys.modules, name, module)
        source = as_pytorch(source)[0] if library == "torch" else source
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    return module


def digits(m, device, **foreach):
    """One step of train_digits.py: forward, loss, backward, update, schedule."""
    model = m.build_model().to(device)
    optimizer = m.torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2, **foreach)
    scheduler = m.torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=20)
    m.shifted = lambda images: images
    x, y = (part[:4].to(device) for part in m.load_digits()["train"])
    bar = types.SimpleNamespace(n=0, total=2, update=lambda: None)
    return lambda: m.train_epoch(model, optimizer, scheduler, [(x, y)], device, bar)


def gpt(m, device, **foreach):
    """One step of train_gpt.py, with its clipping of gradients."""
    model = m.GPT(20, context=8, width=16, layers=2, heads=2, dropout=0.1).to(device)
    optimizer = m.torch.optim.AdamW(m.decay_groups(model), lr=1e-3, betas=(0.9, 0.95), **foreach)
    x, y = (part.to(device) for part in m.draw_batch(m.torch.randint(0, 20, (100,)), 8, 2))

    def step():
        loss = m.loss_of(model, x, y, device)
        optimizer.zero_grad()
        loss.backward()
        m.nn.utils.clip_grad_norm_(model.parameters(), 1.0, **foreach)
        optimizer.step()

    return step


def classifier(m, device, **foreach):
    """One step of text_classifier.py."""
    model = m.model.to(device)
    optimizer = m.torch.optim.AdamW(model.parameters(), lr=1e-4, **foreach)
    x, y = m.sentences[:4].to(device), m.labels[:4].to(device)

    def step():
        optimizer.zero_grad()
        m.criterion(model(x), y).backward()
        optimizer.step()

    return step


STEPS = {"train_digits.py": digits, "train_gpt.py": gpt, "text_classifier.py": classifier}
