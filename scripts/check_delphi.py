"""Reads a delphi folder that neuronlake exported with delphi's own code, and compares it with the lake's tables.

Needs eai-delphi 0.1.3 installed with --no-deps, beside torch, transformers, safetensors, jaxtyping, asyncer, simple-parsing, blobfile, orjson, pandas,
scikit-learn, plotly and tqdm, none of which is a test requirement. What delphi imports and does not use here is replaced by empty modules: vllm, faiss,
sentence_transformers, and the packages that only its clients and sparse coders need.

Run:  neuronlake export delphi OUT --lake LAKE
      neuronlake sql --lake LAKE --format json "SELECT hook_point, neuron, activation FROM activations" > activations.json
      neuronlake sql --lake LAKE --format json "SELECT neuron, scorer, metric, value FROM scores" > scores.json
      python scripts/check_delphi.py OUT activations.json scores.json

It loads every split with TensorBuffer, as LatentDataset does, and every file of detection and fuzzing with the parser of result_analysis; then it compares the
number and the sum of each latent's activations, and balanced accuracy, precision, recall and F1 where they are defined, to 1e-9.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from collections import defaultdict
from pathlib import Path

STUBS = {"vllm", "faiss", "sentence_transformers", "sparsify", "bitsandbytes", "datasets", "plotly", "kaleido", "IPython", "openai", "httpx", "huggingface_hub", "transformers", "torchtyping", "natsort", "accelerate", "flash_attn", "tiktoken", "dotenv", "aiofiles"}


class Stub(types.ModuleType):
    """A module of which every name is a class that does nothing."""

    __path__: list = []

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__init__": lambda self, *args, **named: None})
        setattr(self, name, made)
        return made


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stubs where the real thing is not installed."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in STUBS else None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def main() -> None:
    sys.meta_path.append(StubFinder())
    out, activations_file, scores_file = map(Path, sys.argv[1:4])
    from delphi.latents.loader import TensorBuffer
    from delphi.log.result_analysis import compute_classification_metrics, compute_confusion, load_data

    expected: dict = defaultdict(list)
    for row in json.loads(activations_file.read_text()):
        expected[row["neuron"]].append(row["activation"])
    n_latents = 0
    for path in sorted(out.glob("latents/*/*.safetensors")):
        buffer = TensorBuffer(str(path), path.parent.name)
        tokens = buffer.tokens
        assert tokens is not None and tokens.dim() == 2, path
        for latent in buffer:
            index, data = latent.latent.latent_index, latent.activation_data
            got = data.activations.float()
            assert len(got) == len(expected[index]), (path, index, len(got), len(expected[index]))
            assert abs(got.sum().item() - sum(expected[index])) < 1e-3, (path, index)
            assert (data.locations[:, 0] < tokens.shape[0]).all() and (data.locations[:, 1] < tokens.shape[1]).all()
            n_latents += 1
    assert n_latents == len(expected), (n_latents, len(expected))
    print(f"latents: {n_latents} read by TensorBuffer, with the lake's firings")

    modules = json.loads((out / "run_config.json").read_text())["hookpoints"]
    # Simulations have a layout of their own, which this parser does not read.
    judged = out / "scores_judged"
    judged.mkdir(exist_ok=True)
    for folder in ("detection", "fuzz"):
        link = judged / folder
        if (out / "scores" / folder).is_dir() and not link.exists():
            link.symlink_to((out / "scores" / folder).resolve())
    frame, _ = load_data(judged, modules)
    scores = {(row["neuron"], row["scorer"], row["metric"]): row["value"] for row in json.loads(scores_file.read_text())}
    names = {"detection": "detection", "fuzz": "fuzzing"}
    ours = {"accuracy": "balanced_accuracy", "precision": "precision", "recall": "recall", "f1_score": "f1"}
    n_compared = 0
    for (folder, latent), rows in frame.groupby(["score_type", "latent_idx"]):
        theirs = compute_classification_metrics(compute_confusion(rows))
        for metric, own in ours.items():
            value = scores[(latent, names[folder], own)]
            # What is undefined is 0 there and NULL here.
            if value is not None:
                assert abs(value - theirs[metric]) < 1e-9, (latent, folder, metric, value, theirs[metric])
                n_compared += 1
    assert n_compared > 0
    print(f"scores: {n_compared} numbers are those of delphi's result_analysis")


if __name__ == "__main__":
    main()
