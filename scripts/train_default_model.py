#!/usr/bin/env python3
"""Trains the embedded default model: a GPT-2 of about a million parameters on public-domain prose.

What it reads: prose.jsonl from scripts/make_prose.py ({"document", "text"} a line).
What it writes to --out: tokenizer.json (byte-level BPE, `<|endoftext|>` is id 0), config.json and model.safetensors in
Hugging Face's GPT-2 form (float16, tied unembedding, so no lm_head), README.md with the measured numbers.

Held out: the documents whose title's SHA-256 is divisible by 20. They train neither tokenizer nor model nor baselines.
Training: windows of 128 tokens inside one document, every epoch with new random starts; AdamW, linear warm-up, cosine
schedule; float32 master weights and, with --bfloat16, matrix products in bfloat16. A checkpoint every --checkpoint-s
seconds overwrites --out, so that an early model can be used meanwhile. With one thread, the same versions and the same kind
of processor a run repeats itself; the speed does not change the result, for the length is given in steps.

Measured on the held-out documents, on the same tokens (all but `<|endoftext|>`), with the float16 weights as published:
  the model     windows of 128 tokens, each scored on its last 64, so that a token sees 64 to 127 tokens before it
  unigram       add-k counts
  trigram       Jelinek-Mercer: tri-, bi-, unigram and uniform, weights by expectation maximisation on a twentieth of the
                training documents, counts from the rest

Run:  python scripts/train_default_model.py prose.jsonl --out src/models/embedded --steps 12000 --threads 1 --bfloat16
Made with torch 2.15.0, tokenizers 0.23.3, safetensors 0.8.0, numpy 2.4.6.
"""

import argparse
import hashlib
import json
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

VOCAB, D_MODEL, N_LAYERS, N_HEADS, D_MLP, N_CTX = 2048, 120, 4, 4, 480, 128
END = "<|endoftext|>"


class Linear(nn.Module):
    """GPT-2's Conv1D: a linear map whose weight is stored [in, out]."""

    def __init__(self, d_in, d_out, sd):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_in, d_out) * sd)
        self.bias = nn.Parameter(torch.zeros(d_out))

    def forward(self, x):
        return F.linear(x, self.weight.T, self.bias)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = Linear(D_MODEL, 3 * D_MODEL, 0.05)
        self.c_proj = Linear(D_MODEL, D_MODEL, 0.05 / math.sqrt(2 * N_LAYERS))

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (y.view(b, t, N_HEADS, -1).transpose(1, 2) for y in self.c_attn(x).chunk(3, dim=-1))
        # Written out: on a CPU this is faster than scaled_dot_product_attention, whose backward pass is slow at this size.
        mask = torch.full((t, t), -1e9).triu(1)
        pattern = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
        z = pattern.to(v.dtype) @ v
        return self.c_proj(z.transpose(1, 2).reshape(b, t, D_MODEL))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc = Linear(D_MODEL, D_MLP, 0.05)
        self.c_proj = Linear(D_MLP, D_MODEL, 0.05 / math.sqrt(2 * N_LAYERS))

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(D_MODEL), Attention()
        self.ln_2, self.mlp = nn.LayerNorm(D_MODEL), Mlp()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Model(nn.Module):
    """Parameter names are those of a Hugging Face GPT-2 file without prefix."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, D_MODEL), nn.Embedding(N_CTX, D_MODEL)
        nn.init.normal_(self.wte.weight, std=0.05)
        nn.init.normal_(self.wpe.weight, std=0.02)
        self.h = nn.ModuleList(Block() for _ in range(N_LAYERS))
        self.ln_f = nn.LayerNorm(D_MODEL)

    def forward(self, token_ids):
        x = self.wte(token_ids) + self.wpe.weight[: token_ids.shape[1]]
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == VOCAB and tokenizer.token_to_id(END) == 0
    return tokenizer


def held_out(document):
    return int.from_bytes(hashlib.sha256(document.encode()).digest()) % 20 == 0


def epoch_windows(documents, rng):
    """Shuffled [n, 129] windows, each inside one document; -1 pads those of short documents."""
    windows = []
    for ids in documents:
        if len(ids) <= N_CTX + 1:
            windows.append(np.pad(ids, (0, N_CTX + 1 - len(ids)), constant_values=-1))
            continue
        last = len(ids) - N_CTX - 1
        starts = list(range(int(rng.integers(0, min(N_CTX, last + 1))), last + 1, N_CTX))
        # The beginning and the end would be seen too seldom: one extra window for whichever the starts leave out.
        starts.append(0 if rng.random() < 0.5 else last)
        windows.extend(ids[s : s + N_CTX + 1] for s in starts)
    return np.stack(windows)[rng.permutation(len(windows))]


def batches(documents, rng, size):
    while True:
        windows = epoch_windows(documents, rng)
        for at in range(0, len(windows) - size + 1, size):
            chunk = torch.from_numpy(windows[at : at + size].astype(np.int64))
            yield chunk[:, :-1].clamp(min=0), chunk[:, 1:]


def published(model):
    """The model as a reader of the float16 file sees it."""
    copy = Model().eval()
    copy.load_state_dict({k: v.to(torch.float16).to(torch.float32) for k, v in model.state_dict().items()})
    return copy


@torch.no_grad()
def log_loss(model, documents, n_ctx=N_CTX, stride=64):
    """Sum of the negative log-likelihoods in nats and the number of tokens, without the first of each document."""
    total, count, queue = 0.0, 0, []

    def flush():
        nonlocal total
        width = max(len(ids) for ids, _ in queue)
        x = np.zeros((len(queue), width), dtype=np.int64)
        y = np.full((len(queue), width), -1, dtype=np.int64)
        for row, (ids, keep) in enumerate(queue):
            x[row, : len(ids)] = ids
            y[row, keep : len(ids)] = ids[keep:]
        x, y = torch.from_numpy(x), torch.from_numpy(y[:, 1:].copy())
        total += F.cross_entropy(model(x[:, :-1]).flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum").item()
        queue.clear()

    for ids in documents:
        scored = 1
        while scored < len(ids):
            end = min(len(ids), n_ctx if scored == 1 else scored + stride)
            start = max(0, end - n_ctx)
            queue.append((ids[start:end], scored - start))
            count += end - scored
            scored = end
            if len(queue) == 64:
                flush()
    if queue:
        flush()
    return total, count


class Trigram:
    """Jelinek-Mercer interpolation over integer token ids."""

    def __init__(self, documents):
        tune, count = documents[::20], [d for n, d in enumerate(documents) if n % 20]
        self.n = [Counter(), Counter(), Counter()]
        self.context = [Counter(), Counter()]
        for ids in count:
            for a, b, c in self.triples(ids):
                self.n[0][c] += 1
                self.n[1][b, c] += 1
                self.n[2][a, b, c] += 1
                self.context[0][b] += 1
                self.context[1][a, b] += 1
        self.total = sum(self.n[0].values())
        self.weights = np.full(4, 0.25)
        parts = np.concatenate([self.parts(ids) for ids in tune])
        for _ in range(30):
            share = parts * self.weights
            share /= share.sum(1, keepdims=True)
            self.weights = share.mean(0)

    @staticmethod
    def triples(ids):
        ids = [0, *ids.tolist()]
        return zip(ids, ids[1:], ids[2:])

    def parts(self, ids):
        """[n, 4] probabilities: trigram, bigram, unigram, uniform."""
        return np.array([
            (
                self.n[2][a, b, c] / max(1, self.context[1][a, b]),
                self.n[1][b, c] / max(1, self.context[0][b]),
                self.n[0][c] / self.total,
                1 / VOCAB,
            )
            for a, b, c in self.triples(ids)
        ])

    def log_loss(self, documents):
        return -sum(np.log(self.parts(ids) @ self.weights).sum() for ids in documents)


def unigram_log_loss(train, test, k=0.5):
    counts = np.bincount(np.concatenate([d[1:] for d in train]), minlength=VOCAB) + k
    logs = np.log(counts / counts.sum())
    return -sum(logs[d[1:]].sum() for d in test)


@torch.no_grad()
def sample(model, tokenizer, prompt, n=60, temperature=0.8, top_k=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt).ids
    for _ in range(n):
        logits = model(torch.tensor([ids[-N_CTX:]]))[0, -1] / temperature
        top = logits.topk(top_k)
        choice = torch.multinomial(top.values.softmax(0), 1, generator=generator)
        ids.append(top.indices[choice].item())
        if ids[-1] == 0:
            break
    return tokenizer.decode(ids)


def write_model(model, out):
    """config.json and model.safetensors, each in one rename."""
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "vocab_size": VOCAB, "n_positions": N_CTX, "n_ctx": N_CTX, "n_embd": D_MODEL, "n_layer": N_LAYERS,
        "n_head": N_HEADS, "n_inner": D_MLP, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
        "bos_token_id": 0, "eos_token_id": 0, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
        "torch_dtype": "float16",
    }
    weights = {k: v.detach().to(torch.float16).contiguous().clone() for k, v in model.state_dict().items()}
    save_file(weights, out / "model.safetensors.part", metadata={"format": "pt"})
    (out / "model.safetensors.part").chmod(0o644)
    size = (out / "model.safetensors.part").stat().st_size
    assert size < 1_950_000, size
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "model.safetensors.part").replace(out / "model.safetensors")
    return size


README = """# The embedded model

A GPT-2 of {n_parameters:,} parameters ({n_layers} blocks, {d_model} wide, {n_heads} heads, {d_mlp} MLP neurons a block,
{n_ctx} positions, vocabulary {vocab}), trained by `scripts/train_default_model.py` for this project and stored as
float16 ({size:,} bytes). It is here so that the first command works with nothing to download.

Its neurons are the neurons of a very small model: they answer to a few words or to a class of words (forms of "have",
modal verbs, opening quotation marks, the first piece of a rare word), seldom to a subject, and the token alone predicts
most of them. What is found in them says that the engine works; it says nothing about large language models.

**Source and licence.** The text is public domain: the King James Bible (Debian package `bible-kjv-text`: copyright
expired; the data file may be copied, modified and distributed at will) and six novels of Jane Austen (Debian package
`r-cran-janeaustenr`, public-domain text; the package is MIT, Copyright 2016-2017 Julia Silge). The weights and the
tokenizer are this project's own work under its licence.

**Tokenizer.** Byte-level BPE with GPT-2's pre-tokenisation, no prefix space; id 0 is `<|endoftext|>`.

**Recipe.**

```
apt-get download bible-kjv-text r-cran-janeaustenr
python scripts/make_prose.py bible-kjv-text_*.deb r-cran-janeaustenr_*.deb --out prose.jsonl
python scripts/train_default_model.py prose.jsonl {arguments}
```

{n_train_documents} documents, {n_train_tokens:,} tokens; {steps} steps of {batch} windows of {n_ctx} tokens = {epochs:.1f} passes;
{minutes:.0f} minutes on {threads} thread of a busy server core ({rate:,.0f} tokens/s); torch {torch_version}, seed {seed}.

**Held out.** {n_test_documents} documents that neither model, tokenizer nor baselines saw, {n_test_tokens:,} tokens, {n_test_bytes:,} bytes:

| model | perplexity a token | bits a byte |
|---|---|---|
| unigram, add-0.5 | {unigram_ppl:.1f} | {unigram_bits:.3f} |
| interpolated trigram | {trigram_ppl:.1f} | {trigram_bits:.3f} |
| **this model**, 64 to 127 tokens of context | **{model_ppl:.1f}** | **{model_bits:.3f}** |
| this model, separate windows of 64 tokens (as the engine cuts them) | {short_ppl:.1f} | |

On the training documents its perplexity is {train_ppl:.1f} (a sample of them).

**Samples** (temperature 0.8, top 40; the prompt is up to the bar):

{samples}
"""


def write_readme(path, facts):
    path.write_text(README.format(**facts), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prose", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/models/embedded"))
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-s", type=float, default=240)
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    records = [json.loads(line) for line in args.prose.open(encoding="utf-8")]
    test_texts = [r["text"] for r in records if held_out(r["document"])]
    train_texts = [r["text"] for r in records if not held_out(r["document"])]
    tokenizer = train_tokenizer(train_texts)
    (args.out / "tokenizer.json").write_text(
        json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

    def encode(texts):
        return [np.array([0, *e.ids], dtype=np.int32) for e in tokenizer.encode_batch(texts)]

    train, test = encode(train_texts), encode(test_texts)
    n_train_tokens, n_test_tokens = (sum(len(d) - 1 for d in docs) for docs in (train, test))
    n_test_bytes = sum(len(t.encode()) for t in test_texts)
    print(f"train {len(train)} documents {n_train_tokens} tokens, held out {len(test)} and {n_test_tokens},"
          f" {n_test_bytes / n_test_tokens:.2f} bytes/token", flush=True)
    unigram = unigram_log_loss(train, test)
    print(f"unigram perplexity {math.exp(unigram / n_test_tokens):.1f}", flush=True)

    model = Model()
    n_parameters = sum(p.numel() for p in model.parameters())
    decay = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("wte", "wpe"))]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2 or n.startswith(("wte", "wpe"))]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": args.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), eps=1e-9, fused=True)
    warm_up = max(1, min(150, args.steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(
        (s + 1) / warm_up, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, s / args.steps)))))

    started = saved = time.monotonic()
    stream, running = batches(train, rng, args.batch), None
    for step in range(1, args.steps + 1):
        x, y = next(stream)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bfloat16):
            logits = model(x)
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), ignore_index=-1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        now = time.monotonic()
        rate = step * args.batch * N_CTX / (now - started)
        if step % 50 == 0:
            print(f"step {step}/{args.steps} loss {running:.3f} tokens/s {rate:.0f} minutes {(now - started) / 60:.1f}"
                  f" left {(args.steps - step) * args.batch * N_CTX / rate / 60:.1f}", flush=True)
        if now - saved > args.checkpoint_s and step < args.steps:
            write_model(model, args.out)
            total, count = log_loss(published(model), test[::4])
            print(f"checkpoint at step {step}: held-out perplexity {math.exp(total / count):.2f} (a quarter)", flush=True)
            saved = time.monotonic()

    minutes = (time.monotonic() - started) / 60
    size = write_model(model, args.out)
    final = published(model)
    loss_sum, count = log_loss(final, test)
    assert count == n_test_tokens, (count, n_test_tokens)
    # Every token once, in windows of 64 that know nothing of the window before; the first token of each is not scored.
    short = [d[s : s + 64] for d in test for s in range(0, len(d), 64)]
    short_sum, short_count = log_loss(final, [d for d in short if len(d) > 1])
    train_sum, train_count = log_loss(final, train[::20])
    trigram = Trigram(train).log_loss(test)

    def both(name, total):
        return {f"{name}_ppl": math.exp(total / n_test_tokens), f"{name}_bits": total / math.log(2) / n_test_bytes}

    prompts = ["And the king said unto", "My dear Jane, I have received your letter", "Then went forth the men of war, and"]
    samples = []
    for n, prompt in enumerate(prompts):
        text = sample(final, tokenizer, prompt, seed=n)
        samples.append(f"> {prompt} | " + " ".join(text[len(prompt):].split()))
    arguments = f"--steps {args.steps} --batch {args.batch} --lr {args.lr} --threads {args.threads} --seed {args.seed}"
    facts = dict(
        n_parameters=n_parameters, n_layers=N_LAYERS, d_model=D_MODEL, n_heads=N_HEADS, d_mlp=D_MLP, n_ctx=N_CTX,
        vocab=VOCAB, size=size, arguments=arguments + (" --bfloat16" if args.bfloat16 else ""),
        n_train_documents=len(train), n_train_tokens=n_train_tokens, steps=args.steps, batch=args.batch,
        epochs=args.steps * args.batch * N_CTX / n_train_tokens, minutes=minutes, threads=args.threads,
        rate=args.steps * args.batch * N_CTX / minutes / 60, torch_version=torch.__version__, seed=args.seed,
        n_test_documents=len(test), n_test_tokens=n_test_tokens, n_test_bytes=n_test_bytes,
        short_ppl=math.exp(short_sum / short_count), train_ppl=math.exp(train_sum / train_count),
        samples="\n>\n".join(samples), **both("unigram", unigram), **both("trigram", trigram), **both("model", loss_sum),
    )
    write_readme(args.out / "README.md", facts)
    print(json.dumps({k: v for k, v in facts.items() if "ppl" in k or "bits" in k or k in ("size", "minutes", "rate")}))


if __name__ == "__main__":
    main()
