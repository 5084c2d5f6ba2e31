#!/usr/bin/env python3
"""Makes tests/data/reference/<name>/ablation.json: how far PyTorch's next-token distributions move under a replaced neuron.

For each of `gpt2-tiny` and `llama-tiny` (scripts/make_reference_models.py) and the first window of its expected.safetensors:
a list of {hook_point, neuron, values, divergence}. `values` has one number a token, or null where the neuron keeps its own
value; `divergence` is the mean over positions of the Jensen-Shannon divergence, in nats, of the softmax of the logits with and
without the replacement. Whole forward passes in float64 with module hooks: nothing is shared between them, and nothing
with the program under test. Numbers are written in full.

Run:  python scripts/make_ablation_reference.py [--folder tests/data/reference]
Made with torch 2.15.0, transformers 5.23.0, safetensors 0.8.0 on a CPU.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

# Hook point within a block, and neurons of it; the first and the last are among them.
HOOKS = {
    "mlp.hook_post": (0, 5, -1),
    "attn.hook_z": (0, 7, -1),
    "hook_resid_pre": (2,),
    "hook_resid_mid": (1,),
    "hook_mlp_out": (3,),
}


def module_of(model, layer, hook):
    """The module whose first input is the hook point; for hook_mlp_out the one whose output is."""
    if hasattr(model, "transformer"):
        block = model.transformer.h[layer]
        names = {"mlp.hook_post": block.mlp.c_proj, "attn.hook_z": block.attn.c_proj, "hook_mlp_out": block.mlp}
        names |= {"hook_resid_pre": block, "hook_resid_mid": block}
    else:
        block = model.model.layers[layer]
        names = {"mlp.hook_post": block.mlp.down_proj, "attn.hook_z": block.self_attn.o_proj, "hook_mlp_out": block.mlp}
        names |= {"hook_resid_pre": block, "hook_resid_mid": block}
    return names[hook]


def replace(tensor, neuron, values):
    """A copy of `tensor` [1, n_tokens, width] with the neuron's values."""
    tensor = tensor.clone()
    for position, value in enumerate(values):
        if value is not None:
            tensor[0, position, neuron] = value
    return tensor


def hooked(model, layer, hook, neuron, values):
    """Registers the replacement; returns the handles to remove it."""
    if hook == "hook_mlp_out":
        run = lambda _module, _args, output: replace(output, neuron, values)
        return [module_of(model, layer, hook).register_forward_hook(run)]
    if hook == "hook_resid_mid":
        # The residual stream between the halves of a block has no module of its own: what attention adds is changed by the
        # difference between the wanted and the actual sum.
        block = module_of(model, layer, hook)
        attention = block.attn if hasattr(block, "attn") else block.self_attn
        before = {}

        def remember(_module, args, kwargs):
            before["resid"] = args[0] if args else kwargs["hidden_states"]

        def change(_module, _args, output):
            added = output[0]
            changed = replace(before["resid"] + added, neuron, values) - before["resid"]
            return (changed, *output[1:])

        return [block.register_forward_pre_hook(remember, with_kwargs=True), attention.register_forward_hook(change)]

    def run(_module, args, kwargs):
        if args:
            return (replace(args[0], neuron, values), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": replace(kwargs["hidden_states"], neuron, values)}

    return [module_of(model, layer, hook).register_forward_pre_hook(run, with_kwargs=True)]


def width(model, layer, hook):
    module = module_of(model, layer, hook)
    if hook in ("mlp.hook_post", "attn.hook_z"):
        return module.nx if hasattr(module, "nx") else module.weight.shape[1 if hasattr(module, "in_features") else 0]
    return model.config.hidden_size


def divergence(left, right):
    """Mean over positions of the Jensen-Shannon divergence of two [n_tokens, vocab] log-distributions."""
    p, q = left.exp(), right.exp()
    mean = ((p + q) / 2).log()
    return (0.5 * (p * (left - mean)).sum(-1) + 0.5 * (q * (right - mean)).sum(-1)).mean().item()


def reference(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64).eval()
    token_ids = load_file(folder / "expected.safetensors")["token_ids"][:1]
    n_tokens = token_ids.shape[1]
    generator = torch.Generator().manual_seed(20261122)
    log_probabilities = lambda: torch.log_softmax(model(token_ids).logits[0], -1)
    with torch.no_grad():
        unchanged = log_probabilities()
        rows = []
        for layer in range(model.config.num_hidden_layers):
            for hook, neurons in HOOKS.items():
                for neuron in neurons:
                    neuron %= width(model, layer, hook)
                    values = [round(2 * v, 3) for v in torch.randn(n_tokens, generator=generator).tolist()]
                    values[layer + 1] = None
                    handles = hooked(model, layer, hook, neuron, values)
                    moved = divergence(log_probabilities(), unchanged)
                    [handle.remove() for handle in handles]
                    rows.append(
                        {"hook_point": f"blocks.{layer}.{hook}", "neuron": neuron, "values": values, "divergence": moved}
                    )
        assert torch.equal(log_probabilities(), unchanged), "a hook was left behind"
    assert all(row["divergence"] > 1e-5 for row in rows), "a replacement that moves nothing"
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("tests/data/reference"))
    arguments = parser.parse_args()
    for name in ("gpt2-tiny", "llama-tiny"):
        rows = reference(arguments.folder / name)
        lines = ",\n".join(json.dumps(row) for row in rows)
        (arguments.folder / name / "ablation.json").write_text(f"[\n{lines}\n]\n")
        print(name, len(rows), "replacements,", min(r["divergence"] for r in rows), "to", max(r["divergence"] for r in rows))


if __name__ == "__main__":
    main()
