#!/usr/bin/env python3
"""Makes tests/data/reference/<name>/: seeded tiny models with every hook value, computed by PyTorch.

What it writes, for each of `gpt2-tiny`, `llama-tiny` and `llama-tied`:
  config.json           as `transformers` writes it
  model.safetensors     random float32 weights; biases and norm gains are random too, so that a forgotten one shows
  expected.safetensors  token_ids [2, 24] (int64), logits [2, 24, vocab] and every hook by its TransformerLens name

The weights are used as they are in the file. TransformerLens folds norm gains into the next matrix and centres
weights by default; the values here are those of its `from_pretrained_no_processing`.

Names and shapes (b batch, q and k positions, h attention heads, d_head, d_model, d_mlp):
  hook_embed, hook_pos_embed (gpt2 only)                            [b, q, d_model]
  blocks.N.hook_resid_pre | hook_resid_mid | hook_resid_post        [b, q, d_model]
  blocks.N.attn.hook_pattern                                        [b, h, q, k]      after the softmax
  blocks.N.attn.hook_z                                              [b, q, h, d_head]
  blocks.N.attn.hook_result                                         [b, q, h, d_model] z times W_O of that head, no bias
  blocks.N.hook_attn_out, blocks.N.hook_mlp_out                     [b, q, d_model]
  blocks.N.mlp.hook_pre | hook_post                                 [b, q, d_mlp]
  blocks.N.mlp.hook_pre_linear (llama only)                         [b, q, d_mlp]
  ln_final.hook_normalized                                          [b, q, d_model]
For llama, mlp.hook_pre is the gate projection before the activation function, mlp.hook_pre_linear the up projection
and mlp.hook_post act(gate) * up, which is what the down projection reads. For gpt2, mlp.hook_post is gelu_new(hook_pre).
ln_final.hook_normalized is the output of the final norm with its gain and bias applied, which is what the unembedding
reads, for both kinds of norm. TransformerLens takes it there for LayerNorm (before the gain in some versions) and before
the gain for RMSNorm; with its default folding all of these are the same.

Run:  python scripts/make_reference_models.py [--out tests/data/reference]
Made with torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6 on a CPU.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

N_SEQUENCES, SEQ_LEN, VOCAB = 2, 24, 101


def randomise(model, generator, gain):
    """Overwrites every parameter: matrices N(0, gain / sqrt(fan_in)), norm gains about 1, biases about 0."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                embedding = any(part in name for part in ("wte", "wpe", "embed_tokens"))
                # GPT-2's Conv1D stores [in, out], nn.Linear [out, in].
                fan_in = parameter.shape[0] if ".c_" in name else parameter.shape[1]
                scale = gain / fan_in**0.5 * (2.5 if name == "lm_head.weight" else 1.0)
                parameter.copy_(noise * (0.8 if embedding else scale))
            elif name.endswith(".bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(1.0 + 0.3 * noise)


def capture(modules):
    """Registers hooks; `modules` is name -> (module, "input" or "output"). Returns the dict they will fill."""
    values = {}

    def hook(name, side):
        def run(_module, args, kwargs, output):
            if side == "input":
                value = args[0] if args else kwargs["hidden_states"]
            else:
                value = output[0] if isinstance(output, tuple) else output
            values[name] = value.detach().clone()

        return run

    for name, (module, side) in modules.items():
        module.register_forward_hook(hook(name, side), with_kwargs=True)
    return values


def close(name, left, right, tolerance=2e-5):
    """Asserts that two ways to the same value agree to float32 rounding."""
    worst = (left - right).abs().max().item()
    scale = 1.0 + right.abs().max().item()
    assert worst <= tolerance * scale, f"{name}: differs by {worst:.2e} at scale {scale:.2e}"


def per_head(values, name, projection, n_heads):
    """Adds hook_z and hook_result from the concatenated heads that the output projection [d_in, d_model] read."""
    z = values.pop(f"{name}.z_flat")
    b, q, d_in = z.shape
    z = z.view(b, q, n_heads, d_in // n_heads)
    weight = projection.view(n_heads, d_in // n_heads, -1)
    values[f"{name}.hook_z"] = z
    values[f"{name}.hook_result"] = torch.einsum("bqhd,hdm->bqhm", z, weight)


def gpt2(model, token_ids):
    """Hook values of a GPT-2."""
    body, n_heads = model.transformer, model.config.n_head
    modules = {
        "hook_embed": (body.wte, "output"),
        "hook_pos_embed": (body.wpe, "output"),
        "ln_final.hook_normalized": (body.ln_f, "output"),
    }
    for n, block in enumerate(body.h):
        modules |= {
            f"blocks.{n}.hook_resid_pre": (block, "input"),
            f"blocks.{n}.hook_resid_mid": (block.ln_2, "input"),
            f"blocks.{n}.hook_resid_post": (block, "output"),
            f"blocks.{n}.attn.z_flat": (block.attn.c_proj, "input"),
            f"blocks.{n}.hook_attn_out": (block.attn.c_proj, "output"),
            f"blocks.{n}.mlp.hook_pre": (block.mlp.c_fc, "output"),
            f"blocks.{n}.mlp.hook_post": (block.mlp.c_proj, "input"),
            f"blocks.{n}.hook_mlp_out": (block.mlp.c_proj, "output"),
        }
    values = capture(modules)
    output = model(token_ids, output_attentions=True, use_cache=False)
    values["logits"] = output.logits
    values["hook_pos_embed"] = values["hook_pos_embed"].expand_as(values["hook_embed"])
    close("embedding", values["hook_embed"] + values["hook_pos_embed"], values["blocks.0.hook_resid_pre"])
    for n, block in enumerate(body.h):
        name = f"blocks.{n}"
        values[f"{name}.attn.hook_pattern"] = output.attentions[n]
        per_head(values, f"{name}.attn", block.attn.c_proj.weight, n_heads)
        x = values[f"{name}.mlp.hook_pre"]
        tanh = torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))
        close(f"{name} gelu_new", 0.5 * x * (1 + tanh), values[f"{name}.mlp.hook_post"])
        check_block(values, name, block.attn.c_proj.bias, values_of_heads(values, name, block, n_heads))
    close("logits", values["ln_final.hook_normalized"] @ body.wte.weight.T, values["logits"])
    return values


def values_of_heads(values, name, block, n_heads):
    """GPT-2's value vectors [b, k, h, d_head], recomputed from the residual stream."""
    x = block.ln_1(values[f"{name}.hook_resid_pre"])
    v = block.attn.c_attn(x).chunk(3, dim=-1)[2]
    return v.view(*v.shape[:2], n_heads, -1)


def llama(model, token_ids):
    """Hook values of a Llama with a SwiGLU perceptron and grouped-query attention."""
    body, config = model.model, model.config
    modules = {
        "hook_embed": (body.embed_tokens, "output"),
        "ln_final.hook_normalized": (body.norm, "output"),
    }
    for n, block in enumerate(body.layers):
        modules |= {
            f"blocks.{n}.hook_resid_pre": (block, "input"),
            f"blocks.{n}.hook_resid_mid": (block.post_attention_layernorm, "input"),
            f"blocks.{n}.hook_resid_post": (block, "output"),
            f"blocks.{n}.attn.z_flat": (block.self_attn.o_proj, "input"),
            f"blocks.{n}.hook_attn_out": (block.self_attn.o_proj, "output"),
            f"blocks.{n}.mlp.hook_pre": (block.mlp.gate_proj, "output"),
            f"blocks.{n}.mlp.hook_pre_linear": (block.mlp.up_proj, "output"),
            f"blocks.{n}.mlp.hook_post": (block.mlp.down_proj, "input"),
            f"blocks.{n}.hook_mlp_out": (block.mlp.down_proj, "output"),
        }
    values = capture(modules)
    output = model(token_ids, output_attentions=True, use_cache=False)
    values["logits"] = output.logits
    groups = config.num_attention_heads // config.num_key_value_heads
    for n, block in enumerate(body.layers):
        name = f"blocks.{n}"
        values[f"{name}.attn.hook_pattern"] = output.attentions[n]
        per_head(values, f"{name}.attn", block.self_attn.o_proj.weight.T.contiguous(), config.num_attention_heads)
        gate, up = values[f"{name}.mlp.hook_pre"], values[f"{name}.mlp.hook_pre_linear"]
        close(f"{name} swiglu", gate * torch.sigmoid(gate) * up, values[f"{name}.mlp.hook_post"])
        x = block.input_layernorm(values[f"{name}.hook_resid_pre"])
        v = block.self_attn.v_proj(x)
        v = v.view(*v.shape[:2], config.num_key_value_heads, -1).repeat_interleave(groups, dim=2)
        check_block(values, name, 0.0, v)
    unembedding = model.lm_head.weight
    assert (unembedding.data_ptr() == body.embed_tokens.weight.data_ptr()) == config.tie_word_embeddings
    close("logits", values["ln_final.hook_normalized"] @ unembedding.T, values["logits"])
    return values


def check_block(values, name, output_bias, v):
    """Checks the additions of the residual stream, the pattern, z and the per-head results of one block."""
    pattern = values[f"{name}.attn.hook_pattern"]
    close(f"{name} pattern sums", pattern.sum(-1), torch.ones(pattern.shape[:-1]))
    assert pattern.triu(1).abs().max() == 0.0, f"{name}: attention looks ahead"
    close(f"{name} z", torch.einsum("bhqk,bkhd->bqhd", pattern, v), values[f"{name}.attn.hook_z"])
    result = values[f"{name}.attn.hook_result"].sum(2) + output_bias
    close(f"{name} result", result, values[f"{name}.hook_attn_out"])
    pre, mid, post = (values[f"{name}.hook_resid_{where}"] for where in ("pre", "mid", "post"))
    close(f"{name} resid_mid", pre + values[f"{name}.hook_attn_out"], mid)
    close(f"{name} resid_post", mid + values[f"{name}.hook_mlp_out"], post)


LLAMA = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, hidden_act="silu",
    attention_bias=False, mlp_bias=False, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
)
MODELS = {
    "gpt2-tiny": (
        lambda: GPT2LMHeadModel(GPT2Config(
            vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_inner=128, n_positions=64,
            activation_function="gelu_new", layer_norm_epsilon=1e-5, bos_token_id=0, eos_token_id=0,
            attn_implementation="eager",
        )),
        gpt2, 1,
    ),
    "llama-tiny": (
        lambda: LlamaForCausalLM(LlamaConfig(
            **LLAMA, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )),
        llama, 2,
    ),
    # head_dim is not hidden_size / num_attention_heads, so a loader that computes it fails here.
    "llama-tied": (
        lambda: LlamaForCausalLM(LlamaConfig(
            **LLAMA, head_dim=12, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        )),
        llama, 3,
    ),
}


def write(folder, model, values, token_ids):
    """Writes the three files. Tied unembeddings are left out of model.safetensors, as in published models."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    # The form of published files, which transformers 4 and 5 both read, beside transformers 5's own.
    if "rope_parameters" in config:
        config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["torch_dtype"] = "float32"
    for key in ("_name_or_path", "id2label", "label2id", "dtype", "problem_type", "chunk_size_feed_forward"):
        config.pop(key, None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    skip = "lm_head.weight" if model.config.tie_word_embeddings else None
    weights = {k: v.contiguous().clone() for k, v in model.state_dict().items() if k != skip}
    weights = {k: v for k, v in weights.items() if not k.endswith((".attn.bias", ".masked_bias"))}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    expected = {k: v.detach().to(torch.float32).contiguous().clone() for k, v in values.items()}
    expected["token_ids"] = token_ids
    save_file(expected, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data/reference"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for name, (build, run, seed) in MODELS.items():
        generator = torch.Generator().manual_seed(seed)
        model = build().eval().to(torch.float32)
        randomise(model, generator, gain=1.5)
        token_ids = torch.randint(0, VOCAB, (N_SEQUENCES, SEQ_LEN), generator=generator)
        with torch.no_grad():
            values = run(model, token_ids)
        write(out / name, model, values, token_ids)
        sizes = {f.name: f.stat().st_size for f in sorted((out / name).iterdir())}
        assert max(sizes.values()) < 300_000, sizes
        print(f"{name}: {len(values)} hooks, logits sd {values['logits'].std():.2f}, {sizes}")


if __name__ == "__main__":
    main()
