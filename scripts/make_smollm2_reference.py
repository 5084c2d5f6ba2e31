#!/usr/bin/env python3
"""Makes tests/data/reference/smollm2/: what PyTorch computes for SmolLM2-135M-Instruct (Q4_1) on three texts.

What it reads: SmolLM2-135M-Instruct.Q4_1.gguf, from scripts/fetch_test_models.
What it writes:
  texts.json            [{"text", "token_ids"}], token_ids as SmolLM2's tokenizer gives them (no special token added)
  expected.safetensors  for each text N = 0, 1, 2 of n tokens, all float32 unless said:
    N.token_ids               int64 [n]
    N.next_log_probabilities  [n - 1]  natural log of the probability of the token that comes next in the text
    N.top_ids, N.top_log_probabilities  int64 and float32 [n, 5], likeliest first
    N.blocks.L.mlp.hook_post  [n, 64]  neurons 0..63 of layers L = 3, 9, 21: silu(gate) * up, what the down projection reads

The weights are the file's blocks (Q4_1, the embedding Q8_0, norms float32) dequantised to float32 by the `gguf` package
and put into `transformers`' Llama; the rows of the q and k projections, which a GGUF stores interleaved for its rotary
embedding, are put back in halves. `transformers`' own GGUF loader gives the same to 2e-5. A loader that keeps quantised
products (int8 activations, as llama.cpp does) differs more.
The tokenizer is built from the file's tokens and merges: each digit by itself, then GPT-2's byte-level splitting.

Run:  python scripts/make_smollm2_reference.py [--gguf FILE] [--out tests/data/reference/smollm2]
Made with torch 2.15.0, transformers 5.23.0, gguf 0.19.0, tokenizers 0.23.3, safetensors 0.8.0 on a CPU.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS, N_NEURONS = (3, 9, 21), 64
TEXTS = [
    "The lighthouse keeper had lived alone on the island for 27 years, since the second ship was lost in the storm."
    " Every evening he climbed the 142 steps to light the lamp, and wrote one line in his book.",
    'fn main() {\n    let names = vec!["Ada", "Grace"];\n    for (i, name) in names.iter().enumerate() {\n'
    '        println!("{i}: {name}");\n    }\n}\n',
    "Café prices rose again in Zürich: a flat white now costs 6.50 francs \u2014 \u201cfar too much\u201d, said Müller,"
    " who's been drinking tea since Monday. \U0001f375 Nobody's sure what happens next.",
]
NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hub_name(name):
    """model.layers.3.mlp.up_proj.weight for blk.3.ffn_up.weight."""
    stem = name.removesuffix(".weight")
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def halves(weight, n_heads):
    """Rows of q or k from GGUF's order (pairs side by side) to the hub's (first half, second half)."""
    d_out, d_in = weight.shape
    return weight.view(n_heads, d_out // n_heads // 2, 2, d_in).transpose(1, 2).reshape(d_out, d_in)


def load(reader, field):
    n_heads, n_kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    weights, kinds = {}, {}
    for tensor in reader.tensors:
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).to(torch.float32)
        value = value.view(*reversed(tensor.shape.tolist()))
        if "attn_q." in tensor.name or "attn_k." in tensor.name:
            value = halves(value, n_heads if "attn_q." in tensor.name else n_kv_heads)
        weights[hub_name(tensor.name)] = value
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    tied = "lm_head.weight" not in weights
    config = LlamaConfig(
        vocab_size=weights["model.embed_tokens.weight"].shape[0], hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"), num_hidden_layers=field("llama.block_count"),
        num_attention_heads=n_heads, num_key_value_heads=n_kv_heads,
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"), tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": float(field("llama.rope.freq_base"))},
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).eval().to(torch.float32)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if tied else set()), (missing, unexpected)
    print(f"{len(weights)} tensors {kinds}, tied {tied}, rope theta {field('llama.rope.freq_base')}")
    return model


def load_tokenizer(field):
    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    assert field("tokenizer.ggml.model") == "gpt2" and field("tokenizer.ggml.pre") == "smollm"
    vocab = {token: n for n, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def main():
    cache = os.environ.get("NEURONLAKE_MODELS", str(Path.home() / ".cache" / "neuronlake-models"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, default=Path(cache) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--out", type=Path, default=Path("tests/data/reference/smollm2"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reader = GGUFReader(args.gguf)
    model = load(reader, lambda key: reader.fields[key].contents())
    tokenizer = load_tokenizer(lambda key: reader.fields[key].contents())

    posts = {}
    for layer in LAYERS:
        def keep(_module, inputs, layer=layer):
            posts[layer] = inputs[0][0, :, :N_NEURONS].detach().clone()
        model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(keep)

    expected, records = {}, []
    for n, text in enumerate(TEXTS):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
        token_ids = torch.tensor(ids)
        with torch.no_grad():
            log_probabilities = model(token_ids[None], use_cache=False).logits[0].log_softmax(-1)
        following = log_probabilities[:-1].gather(1, token_ids[1:, None])[:, 0]
        top = log_probabilities.topk(5)
        expected |= {
            f"{n}.token_ids": token_ids, f"{n}.next_log_probabilities": following,
            f"{n}.top_ids": top.indices, f"{n}.top_log_probabilities": top.values,
        }
        expected |= {f"{n}.blocks.{layer}.mlp.hook_post": value for layer, value in posts.items()}
        records.append({"text": text, "token_ids": ids})
        print(f"text {n}: {len(ids)} tokens, perplexity {(-following.mean()).exp():.2f}")
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "expected.safetensors"
    save_file({k: v.contiguous() for k, v in expected.items()}, file)
    file.chmod(0o644)
    assert file.stat().st_size < 400_000
    (args.out / "texts.json").write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print({f.name: f.stat().st_size for f in sorted(args.out.iterdir())})


if __name__ == "__main__":
    main()
