"""The programs in examples/: they run, resume to the same numbers, explain errors, and are PyTorch but for imports."""

import importlib
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from example_steps import EXAMPLES, as_pytorch

import naiad

PROGRAMS = ("linear.py", "simple_net.py", "text_classifier.py", "train_digits.py", "train_gpt.py")
TINY_GPT = "--schedule 8 --every 3 --batch 4 --layers 1 --heads 2 --width 16 --context 16 --length 20".split()
TINY_DIGITS = "--epochs 2 --batch 128".split()  # 9 steps an epoch
CLASSIFIER = {"SENTENCES, LENGTH, BATCH, EPOCHS = 320, 32, 16, 2": "SENTENCES, LENGTH, BATCH, EPOCHS = 32, 16, 16, 1"}
SMALL_CLASSIFIER = {
    "SENTENCES, LENGTH, BATCH, EPOCHS = 320, 32, 16, 2": "SENTENCES, LENGTH, BATCH, EPOCHS = 8, 8, 4, 2",
    "WORDS, CLASSES = 10000, 5": "WORDS, CLASSES = 100, 5",
    "d_model=256, nhead=4": "d_model=16, nhead=2",
    "batch_first=True": "batch_first=True, dim_feedforward=32",
}
FEW_DIGITS = {
    "slice(0, 1137)": "slice(0, 80)",
    "slice(1137, 1437)": "slice(1137, 1145)",
    "slice(1437, 1797)": "slice(1437, 1445)",
    "convolution(1, 32)": "convolution(1, 8)",
    "convolution(32, 32)": "convolution(8, 8)",
    "convolution(32, 64)": "convolution(8, 16)",
    "Linear(256, 10)": "Linear(64, 10)",
}


def run(program, *options, cwd, fails=False, simulated=False):
    """Run a program in a process of its own; its standard output, or its standard error if it `fails`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NAIAD_", "TRITON_"))}
    environment |= {"NAIAD_CUDA": "interpret"} if simulated else {}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "error::UserWarning"}
    command = [sys.executable, str(program), *map(str, options)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr if fails else done.stdout


def copy_examples(folder):
    """The examples without what was made by running them."""
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__", "*.png", "runs"))
    return folder


def edit(path, changes):
    """Replace pieces of a source, each of which is there once."""
    source = path.read_text()
    for old, new in changes.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    path.write_text(source)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The examples with a smaller classifier; everything else as it is."""
    folder = copy_examples(tmp_path_factory.mktemp("naiad") / "examples")
    edit(folder / "text_classifier.py", CLASSIFIER)
    return folder


@pytest.fixture(scope="module")
def with_pytorch(small, tmp_path_factory):
    """The same with PyTorch's import lines."""
    pytest.importorskip("torch", reason="needs the oracle extra: pip install 'naiad[oracle]'")
    folder = tmp_path_factory.mktemp("torch") / "examples"
    shutil.copytree(small, folder)
    for path in folder.glob("*.py"):
        path.write_text(as_pytorch(path.read_text())[0])
    return folder


@pytest.fixture(scope="module")
def digits(small, tmp_path_factory):
    """A short training of the digits net: its folder and what it printed."""
    cwd = tmp_path_factory.mktemp("digits")
    return cwd / "whole", run(small / "train_digits.py", *TINY_DIGITS, "--out", "whole", cwd=cwd)


@pytest.mark.parametrize("program", PROGRAMS)
def test_only_import_lines_name_naiad(program):
    changed, count = as_pytorch((EXAMPLES / program).read_text())
    assert count >= 2
    assert "naiad" not in changed


@pytest.mark.parametrize("library", ["naiad", "pytorch"])
@pytest.mark.parametrize("program", ["linear.py", "simple_net.py", "text_classifier.py"])
def test_small_program(program, library, request, tmp_path):
    folder = request.getfixturevalue("small" if library == "naiad" else "with_pytorch")
    printed = run(folder / program, cwd=tmp_path)
    if program == "linear.py":
        assert re.match(r"tensor\(\[-?\d+\.\d{4}\], grad_fn=<\w+Backward0>\)\n$", printed)
    if program == "simple_net.py":
        assert printed.startswith("SimpleNet(\n  (fc1): Linear(in_features=10, out_features=32, bias=True)\n")
        assert float(re.search(r"accuracy: (\d+\.\d)%\n$", printed)[1]) > 95
    if program == "text_classifier.py":
        assert re.match(r"epoch 1: loss \d\.\d{4}\n$", printed)
        saved = naiad.load(tmp_path / "model.pt")
        assert saved["embedding.weight"].shape == (10000, 256)
        assert saved["encoder.layers.1.self_attn.in_proj_weight"].shape == (768, 256)


def test_digits_learns_and_leaves_its_files(digits):
    folder, printed = digits
    lines = printed.splitlines()
    assert re.fullmatch(r"test accuracy: \d+\.\d", lines[-1])
    assert float(lines[-1].split()[-1]) > 60
    assert "whole/model.pt, read by a fresh process, predicts the same" in lines
    assert (folder / "digits.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    table = (folder / "metrics.csv").read_text().splitlines()
    assert table[0] == "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy"
    assert len(table) == 3
    assert naiad.load(folder / "predictions.pt").shape == (360, 10)


def test_digits_resumes_to_the_same_numbers(digits, small, tmp_path):
    whole, _ = digits
    run(small / "train_digits.py", *TINY_DIGITS, "--out", "cut", "--steps", 11, cwd=tmp_path)
    cut = tmp_path / "cut"
    assert (cut / "metrics.csv").read_text() != (whole / "metrics.csv").read_text()
    printed = run(small / "train_digits.py", *TINY_DIGITS, "--out", "cut", "--resume", cwd=tmp_path)
    assert "going on after epoch 1 of 2" in printed
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    same_tensors(cut / "model.pt", whole / "model.pt")


def test_digits_refuses_a_checkpoint_of_other_settings(digits, small):
    folder, _ = digits
    said = run(small / "train_digits.py", "--out", folder, "--resume", "--epochs", 3, cwd=folder, fails=True)
    assert "was made with --epochs 2, not 3; give the same, or another --out" in said


def test_digits_check_notices_another_model(digits, small, tmp_path):
    folder, _ = digits
    weights = naiad.load(folder / "model.pt")
    weights["0.weight"] = weights["0.weight"] * 2
    naiad.save(weights, tmp_path / "model.pt")
    shutil.copy(folder / "predictions.pt", tmp_path)
    said = run(small / "train_digits.py", "--check", "--out", tmp_path, cwd=tmp_path, fails=True)
    assert "predicts otherwise than before it was saved" in said


@pytest.fixture
def on_both(tmp_path):
    """Runs a program on the CPU and on the simulated device; what each printed."""
    pytest.importorskip("triton", reason="needs Triton, whose interpreter runs the kernels")

    def call(program, changes, *options):
        folder = copy_examples(tmp_path / "examples")
        edit(folder / program, changes)
        printed = []
        for device in ("cpu", "cuda"):
            where = tmp_path / device
            where.mkdir()
            given = ["--device", device, "--out", "."] if options else []
            printed.append(run(folder / program, *options, *given, cwd=where, simulated=device == "cuda"))
        return printed

    return call


def test_digits_trains_on_the_simulated_device_as_on_the_cpu(on_both, tmp_path):
    _, printed = on_both("train_digits.py", FEW_DIGITS, "--steps", 5, "--batch", 16)
    assert printed.splitlines()[0].endswith("on cuda")
    cpu, cuda = (np.loadtxt(tmp_path / name / "metrics.csv", delimiter=",", skiprows=1) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda, cpu, rtol=0, atol=1e-4)  # weights, order, shifts and dropout are the same
    scores = [naiad.load(tmp_path / name / "predictions.pt").numpy() for name in ("cpu", "cuda")]
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_gpt_trains_on_the_simulated_device_as_on_the_cpu(on_both, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text((EXAMPLES / "data" / "sonnets.txt").read_text()[:600])
    sizes = "--schedule 5 --every 1 --batch 2 --layers 2 --heads 2 --width 16 --context 8 --length 5 --dropout 0.2"
    printed = on_both("train_gpt.py", {}, "--text", few, *sizes.split())
    samples = [re.sub(r"\d+ steps in .* s\n", "", text.replace("on cuda", "on cpu")) for text in printed]
    assert samples[0] == samples[1]  # the same characters are drawn
    cpu, cuda = (np.loadtxt(tmp_path / name / "metrics.csv", delimiter=",", skiprows=1) for name in ("cpu", "cuda"))
    assert len(cpu) == 5
    np.testing.assert_allclose(cuda, cpu, rtol=0, atol=1e-4)


def test_classifier_trains_on_the_simulated_device_as_on_the_cpu(on_both, tmp_path):
    cpu, cuda = (re.findall(r"loss (\d\.\d{4})", text) for text in on_both("text_classifier.py", SMALL_CLASSIFIER))
    assert len(cpu) == 2
    np.testing.assert_allclose(np.array(cuda, float), np.array(cpu, float), rtol=0, atol=1.01e-4)  # four digits
    there, here = (naiad.load(tmp_path / name / "model.pt", map_location="cpu") for name in ("cuda", "cpu"))
    for name, value in here.items():
        np.testing.assert_allclose(there[name].numpy(), value.numpy(), rtol=0, atol=3e-5, err_msg=name)


def test_gpt_resumes_to_the_same_numbers(small, tmp_path):
    printed = run(small / "train_gpt.py", *TINY_GPT, "--out", "whole", cwd=tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert printed.index("before:") < printed.index("8 steps in") < printed.index("after:")
    last = printed.splitlines()[-1]
    assert 3 < float(re.fullmatch(r"validation: (\d\.\d{3}) bits per character", last)[1]) < np.log2(60)
    run(small / "train_gpt.py", *TINY_GPT, "--out", "cut", "--steps", 5, cwd=tmp_path)
    again = run(small / "train_gpt.py", *TINY_GPT, "--out", "cut", "--resume", cwd=tmp_path)
    assert "going on after step 5 of 8" in again
    assert again[again.index("after:") :] == printed[printed.index("after:") :]
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert len((cut / "metrics.csv").read_text().splitlines()) == 4
    same_tensors(cut / "model.pt", whole / "model.pt")


def test_training_programs_run_on_pytorch(with_pytorch, tmp_path):
    printed = run(with_pytorch / "train_digits.py", *TINY_DIGITS, "--steps", 3, "--out", "digits", cwd=tmp_path)
    assert re.fullmatch(r"test accuracy: \d+\.\d", printed.splitlines()[-1])
    run(with_pytorch / "train_gpt.py", *TINY_GPT, "--steps", 4, "--out", "gpt", cwd=tmp_path)
    printed = run(with_pytorch / "train_gpt.py", *TINY_GPT, "--resume", "--out", "gpt", cwd=tmp_path)
    assert re.fullmatch(r"validation: \d\.\d{3} bits per character", printed.splitlines()[-1])


def same_tensors(one, other):
    """Two files hold the same tensors under the same names, bit for bit."""
    first, second = (saved.get("model", saved) for saved in (naiad.load(one), naiad.load(other)))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.numpy().tobytes() == second[name].numpy().tobytes(), name


@pytest.fixture
def main(monkeypatch):
    """Calls a program's main() in this process, with a command line."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("common", "train_digits", "train_gpt"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(program, *options):
        monkeypatch.setattr(sys, "argv", [f"{program}.py", *map(str, options)])
        importlib.import_module(program).main()

    return call


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        ("train_digits", ["--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
        ("train_digits", ["--epochs", "0"], "argument --epochs: must be at least 1, got 0"),
        ("train_digits", ["--lr", "nan"], "argument --lr: must be above 0, got nan"),
        ("train_digits", ["--batch", "many"], "argument --batch: expected a number, got 'many'"),
        ("train_digits", ["--check", "--out", "void"], "--check: there is no void/model.pt; train first"),
        ("train_digits", ["--out", "file"], "--out file: the folder cannot be made"),
        ("train_digits", ["--resume"], "there is no runs/digits/checkpoint.pt; run once without --resume"),
        ("train_gpt", ["--heads", "5"], "--width 96 must be a multiple of --heads 5"),
        ("train_gpt", ["--text", "void.txt"], "--text void.txt: No such file or directory"),
        ("train_gpt", ["--text", "latin"], "--text latin: not UTF-8"),
        ("train_gpt", ["--text", "file"], "--text file: 4 characters; --context 64 needs 650 or more"),
        ("train_gpt", ["--prompt", "~"], "--prompt '~': ['~'] not in the text"),
    ],
)
def test_errors_say_what_to_do(main, program, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(SystemExit) as stopped:
        main(program, "--device", "cpu", *options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_packages_are_named_before_the_training(main, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        main("train_digits", "--device", "cpu")
    assert (
        "matplotlib not found; install what the examples need: pip install 'naiad[examples]'" in capsys.readouterr().err
    )


def test_cuda_without_a_gpu_is_refused(main, monkeypatch, capsys):
    monkeypatch.setattr(naiad.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main("train_gpt", "--device", "cuda")
    assert "--device cuda: no GPU can be used here" in capsys.readouterr().err


def test_the_digits_are_the_whole_set():
    table = np.loadtxt(EXAMPLES / "data" / "digits.csv.gz", delimiter=",", dtype=np.int64)
    assert table.shape == (1797, 65)
    assert (table[:, :64].min(), table[:, :64].max()) == (0, 16)
    assert np.bincount(table[:, 64]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
