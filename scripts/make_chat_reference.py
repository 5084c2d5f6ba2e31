#!/usr/bin/env python3
"""Makes tests/data/reference/smollm2-chat.json: what PyTorch computes for conversations with SmolLM2-135M-Instruct (Q4_1).

What it reads: SmolLM2-135M-Instruct.Q4_1.gguf, from scripts/fetch_test_models.
What it writes, a list of:
  messages           the conversation, ending with the user's turn
  prompt             the file's chat template rendered by transformers' own Jinja environment, up to the model's turn
  token_ids          the prompt's tokens, special tokens recognised
  answer             a text that the model reads as its own, and answer_ids, its tokens, cut by themselves
  log_probabilities  natural log of the probability of each of answer_ids, given the prompt and those before it
  greedy             the likeliest reply's text, cut at an end token or after 24 tokens
  greedy_ids         its tokens
  greedy_margin      how much likelier, in nats, the likeliest token was than the next one, at the closest of its steps

Weights, tokenizer and their order are those of scripts/make_smollm2_reference.py: dequantised to float32.

Run:  python scripts/make_chat_reference.py [--gguf FILE] [--out tests/data/reference/smollm2-chat.json]
Made with torch 2.15.0, transformers 5.23.0, gguf 0.19.0, tokenizers 0.23.3 on a CPU.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from make_smollm2_reference import load, load_tokenizer

N_GREEDY = 24
CONVERSATIONS = [
    ([{"role": "user", "content": "What is the capital of France?"}], "The capital of France is Paris."),
    (
        [
            {"role": "system", "content": "You name what the marked words have in common, in at most five words."},
            {"role": "user", "content": "The <<cat>> sat by the door.\nTwo <<cats>> slept; a <<kitten>> played."},
            {"role": "assistant", "content": "words about cats"},
            {"role": "user", "content": "She paid <<twelve>> coins and kept <<30>>.\nOnly <<two>> were left."},
        ],
        "numbers and quantities",
    ),
    (
        [
            {"role": "system", "content": "Rate each word from 0 to 9."},
            {"role": "user", "content": "Explanation: names of fruit\n\nWords:\nan\napple\nfell\n"},
        ],
        "an\t0\napple\t9\nfell\t0\n",
    ),
]


def main():
    cache = os.environ.get("NEURONLAKE_MODELS", str(Path.home() / ".cache" / "neuronlake-models"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, default=Path(cache) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--out", type=Path, default=Path("tests/data/reference/smollm2-chat.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    reader = GGUFReader(args.gguf)

    def field(key):
        return reader.fields[key].contents()

    model = load(reader, field)
    plain = load_tokenizer(field)
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    special = [AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds) if kind == 3]
    whole = load_tokenizer(field)
    whole.add_special_tokens(special)
    bos, eos = (tokens[field(f"tokenizer.ggml.{name}_token_id")] for name in ("bos", "eos"))
    chat = PreTrainedTokenizerFast(tokenizer_object=whole, bos_token=bos, eos_token=eos)
    chat.chat_template = field("tokenizer.chat_template")
    ends = {whole.token_to_id(name) for name in ("<|im_end|>", "<|endoftext|>")}

    records = []
    for messages, answer in CONVERSATIONS:
        prompt = chat.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = whole.encode(prompt, add_special_tokens=False).ids
        answer_ids = plain.encode(answer).ids
        with torch.no_grad():
            logits = model(torch.tensor([ids + answer_ids]), use_cache=False).logits[0].log_softmax(-1)
            rows = logits[len(ids) - 1 : -1]
            values = rows.gather(1, torch.tensor(answer_ids)[:, None])[:, 0]
            greedy, margin = [], float("inf")
            while len(greedy) < N_GREEDY:
                last = model(torch.tensor([ids + greedy]), use_cache=False).logits[0, -1].log_softmax(-1)
                top = last.topk(2)
                margin = min(margin, float(top.values[0] - top.values[1]))
                if int(top.indices[0]) in ends:
                    break
                greedy.append(int(top.indices[0]))
        records.append({
            "messages": messages, "prompt": prompt, "token_ids": ids, "answer": answer, "answer_ids": answer_ids,
            "log_probabilities": [round(float(value), 5) for value in values],
            "greedy": whole.decode(greedy, skip_special_tokens=False), "greedy_ids": greedy,
            "greedy_margin": round(margin, 5),
        })
        print(len(ids), repr(records[-1]["greedy"]), margin)
    args.out.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
