#!/usr/bin/env python3
"""Makes src/sparse_autoencoders/fixtures: tiny autoencoders in the formats that others publish, with what they compute.

Each folder holds one autoencoder as its own library writes it, with random weights, and 'expected.safetensors':
  inputs [rows, d_in], codes [rows, n], reconstructions [rows, d_out], computed by that library.
SAELens, dictionary_learning and sparsify are the packages themselves. OpenAI's package and Gemma Scope's loader are not
on the registry: their files are laid out and computed here after their published description (spec §1.1, §2.1, §2.5).

Run:  python scripts/make_sae_fixtures.py          (in an environment with the versions below)
Made with torch 2.15.0, sae-lens 6.54.12, dictionary-learning 0.1.0, eai-sparsify 1.3.3, safetensors 0.8.0, numpy 2.4.6.
"""

import importlib.util
import json
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent / "src/sparse_autoencoders/fixtures"
D, N, OUT, ROWS, K = 6, 24, 5, 16, 4


def package_without_init(name):
    """A package whose __init__ is not run, so that what its modules need is all that is needed."""
    module = types.ModuleType(name)
    module.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = module


def folder(name):
    path = ROOT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def expect(path, inputs, codes, reconstructions):
    tensors = {"inputs": inputs, "codes": codes, "reconstructions": reconstructions}
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, path / "expected.safetensors")


def randomize(module, positive=()):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = 0.4 * torch.randn_like(parameter)
            parameter.copy_(values.abs() if name in positive else values)


def rows(width=D):
    return torch.randn(ROWS, width) + 0.3


# OpenAI ---------------------------------------------------------------------------------------------------------------
def openai(name, activation):
    path = folder(name)
    state = {
        "pre_bias": 0.3 * torch.randn(D),
        "encoder.weight": torch.randn(N, D),
        "latent_bias": 0.1 * torch.randn(N),
        # Stored as the transpose of a contiguous matrix, as a linear layer made from the encoder's would be.
        "decoder.weight": torch.randn(N, D).t(),
        "stats_last_nonzero": torch.zeros(N, dtype=torch.int64),
        "latents_activation_frequency": torch.rand(N),
        "latents_mean_square": torch.rand(N),
    }
    x = rows()
    mean, deviation = torch.zeros(ROWS, 1), torch.ones(ROWS, 1)
    normalized = x
    if activation == "TopK":
        mean = x.mean(-1, keepdim=True)
        deviation = (x - mean).std(-1, keepdim=True)
        normalized = (x - mean) / (deviation + 1e-5)
        state |= {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
    h = (normalized - state["pre_bias"]) @ state["encoder.weight"].t() + state["latent_bias"]
    if activation == "TopK":
        top = h.topk(K)
        codes = torch.zeros_like(h).scatter(-1, top.indices, top.values.relu())
    else:
        codes = h.relu()
    reconstruction = codes @ state["decoder.weight"].t() + state["pre_bias"]
    torch.save(state, path / "sae.pt")
    expect(path, x, codes, reconstruction * deviation + mean)


# SAELens --------------------------------------------------------------------------------------------------------------
def saelens(name, class_name, positive=(), **config):
    import sae_lens

    path = folder(name)
    settings = {"d_in": D, "d_sae": N, "dtype": "float32", "device": "cpu", **config}
    settings = getattr(sae_lens, f"{class_name}Config")(**settings)
    settings.metadata.model_name, settings.metadata.hook_name = "gpt2-small", "blocks.8.hook_resid_pre"
    sae = getattr(sae_lens, class_name)(settings)
    randomize(sae, positive)
    x = rows()
    # What is added to scale inputs per row is kept by `encode` for `decode`.
    codes = sae.encode(x)
    codes = codes.to_dense() if codes.is_sparse else codes
    reconstruction = sae(x)
    sae.save_model(path)
    expect(path, x, codes, reconstruction)
    return path


def before_version_6(name, source, **flat):
    """The same weights under a flat configuration, as versions before 6 wrote it."""
    path = folder(name)
    for file in ["sae_weights.safetensors", "expected.safetensors"]:
        shutil.copy(source / file, path / file)
    (path / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": N, "model_name": "gpt2-small", "prepend_bos": True, **flat}))


# dictionary_learning ----------------------------------------------------------------------------------------------------
def dictionary_learning(name, make, dict_class, **tensors):
    path = folder(name)
    ae = make()
    randomize(ae)
    with torch.no_grad():
        for key, value in tensors.items():
            getattr(ae, key).copy_(value)
    x = rows()
    codes = ae.encode(x)
    torch.save(ae.state_dict(), path / "ae.pt")
    trainer = {"dict_class": dict_class, "activation_dim": D, "dict_size": N, "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "resid_post_layer_3"}
    (path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"d_submodule": D}}))
    expect(path, x, codes, ae.decode(codes))


# sparsify ---------------------------------------------------------------------------------------------------------------
def sparsify(name, **config):
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    path = folder(name)
    coder = SparseCoder(D, SparseCoderConfig(num_latents=N, k=K, **config))
    randomize(coder)
    x = rows()
    top = coder.encode(x)
    codes = torch.zeros(ROWS, N).scatter(-1, top.top_indices, top.top_acts)
    reconstruction = codes @ coder.W_dec + coder.b_dec
    if coder.W_skip is not None:
        reconstruction = reconstruction + x @ coder.W_skip.mT
    assert torch.allclose(coder(x).sae_out, reconstruction, atol=1e-5), "its own forward pass says the same"
    coder.save_to_disk(path)
    expect(path, x, codes, reconstruction)


# Gemma Scope ------------------------------------------------------------------------------------------------------------
def gemma_scope(name, width_out):
    path = folder(name)
    x, w_enc, w_dec = rows(), torch.randn(D, N), torch.randn(N, width_out)
    b_enc, b_dec, threshold = 0.3 * torch.randn(N), torch.randn(width_out), 0.5 * torch.rand(N)
    h = x @ w_enc + b_enc
    codes = h * (h > threshold)
    arrays = {"W_enc": w_enc, "W_dec": w_dec, "b_enc": b_enc, "b_dec": b_dec, "threshold": threshold}
    np.savez(path / "params.npz", **{key: array.numpy() for key, array in arrays.items()})
    expect(path, x, codes, codes @ w_dec + b_dec)


def compressed(name, of):
    """The same autoencoder in a compressed archive, one array in column-major order."""
    path = folder(name)
    arrays = dict(np.load(ROOT / of / "params.npz"))
    arrays["W_enc"] = np.asfortranarray(arrays["W_enc"])
    np.savez_compressed(path / "params.npz", **arrays)
    shutil.copy(ROOT / of / "expected.safetensors", path / "expected.safetensors")


# Crosscoders: no package on a registry writes them, so the layouts are written as the repositories' classes name and shape them.
def crosscoders():
    torch.manual_seed(0)
    root = ROOT.parent / "crosscoder_fixtures"
    shutil.rmtree(root, ignore_errors=True)
    w_enc, b_enc, w_dec, b_dec = torch.randn(2, D, N), torch.randn(N), torch.randn(N, 2, D), torch.randn(2, D)
    # Latents 0 to 3 write to the first model only, 4 to 6 to the second, 7 to none, 8 to both alike.
    w_dec[0:4, 1] *= 0.01
    w_dec[4:7, 0] *= 0.01
    w_dec[7] = 0
    w_dec[8, 1] = w_dec[8, 0]
    arrays, layers = root / "arrays", root / "layers"
    arrays.mkdir(parents=True)
    layers.mkdir(parents=True)
    torch.save({"W_enc": w_enc, "W_dec": w_dec, "b_enc": b_enc, "b_dec": b_dec}, arrays / "3.pt")
    config = {"d_in": D, "dict_size": N, "model_name": "gemma-2-2b", "hook_point": "blocks.14.hook_resid_pre", "enc_dtype": "fp32"}
    (arrays / "3_cfg.json").write_text(json.dumps(config))
    buffers = {"code_normalization_id": torch.tensor(1), "k": torch.tensor(K), "threshold": torch.tensor(0.3)}
    weights = {"encoder.weight": w_enc, "encoder.bias": b_enc, "decoder.weight": w_dec.transpose(0, 1).contiguous(), "decoder.bias": b_dec}
    save_file(weights | buffers, layers / "model.safetensors")
    (layers / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": N, "num_layers": 2, "k": K}))
    norms = {"decoder_norms": w_dec.norm(dim=-1).t(), "encoder_norms": w_enc.norm(dim=1)}
    norms["decoder_cosines"] = torch.nn.functional.cosine_similarity(w_dec[:, 0], w_dec[:, 1], dim=-1)
    save_file({name: value.contiguous() for name, value in norms.items()}, root / "expected.safetensors")


def main():
    crosscoders()
    torch.manual_seed(0)
    openai("openai_v5", "TopK")
    openai("openai_v1", "ReLU")
    gemma_scope("gemma_scope", D)
    gemma_scope("gemma_scope_transcoder", OUT)
    compressed("gemma_scope_compressed", "gemma_scope")
    standard = saelens("saelens_standard", "StandardSAE", apply_b_dec_to_input=True)
    saelens("saelens_layer_norm", "StandardSAE", apply_b_dec_to_input=False, normalize_activations="layer_norm")
    saelens("saelens_constant_norm", "StandardSAE", apply_b_dec_to_input=True, normalize_activations="constant_norm_rescale")
    topk = saelens("saelens_topk", "TopKSAE", k=K, apply_b_dec_to_input=True)
    saelens("saelens_topk_rescaled", "TopKSAE", k=K, apply_b_dec_to_input=True, rescale_acts_by_decoder_norm=True)
    saelens("saelens_jumprelu", "JumpReLUSAE", ["threshold"], apply_b_dec_to_input=False)
    saelens("saelens_gated", "GatedSAE", apply_b_dec_to_input=True)
    saelens("saelens_transcoder", "Transcoder", d_out=OUT, apply_b_dec_to_input=False)
    saelens("saelens_jumprelu_skip_transcoder", "JumpReLUSkipTranscoder", ["threshold"], d_out=OUT, apply_b_dec_to_input=False)
    before_version_6("saelens_5_standard", standard, hook_point="blocks.8.hook_resid_pre", normalize_activations=False)
    before_version_6("saelens_5_topk", topk, hook_name="blocks.8.hook_resid_pre", architecture="standard", activation_fn_str="topk",
                     activation_fn_kwargs={"k": K}, apply_b_dec_to_input=True, normalize_activations="none", finetuning_scaling_factor=False)

    package_without_init("dictionary_learning")
    from dictionary_learning.dictionary import AutoEncoder, GatedAutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    dictionary_learning("dictionary_learning_relu", lambda: AutoEncoder(D, N), "AutoEncoder")
    dictionary_learning("dictionary_learning_topk", lambda: AutoEncoderTopK(D, N, K), "AutoEncoderTopK")
    dictionary_learning("dictionary_learning_batch_topk", lambda: BatchTopKSAE(D, N, K), "BatchTopKSAE", threshold=torch.tensor(0.3))
    dictionary_learning("dictionary_learning_gated", lambda: GatedAutoEncoder(D, N), "GatedAutoEncoder")
    dictionary_learning("dictionary_learning_jumprelu", lambda: JumpReluAutoEncoder(D, N), "JumpReluAutoEncoder", threshold=0.4 * torch.rand(N))
    dictionary_learning("dictionary_learning_matryoshka", lambda: MatryoshkaBatchTopKSAE(D, N, K, [8, 16]), "MatryoshkaBatchTopKSAE", threshold=torch.tensor(0.3))

    # Its own kernel needs a GPU.
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    package_without_init("sparsify")
    sparsify("sparsify_topk")
    sparsify("sparsify_skip_transcoder", transcode=True, skip_connection=True)
    size = sum(file.stat().st_size for file in ROOT.rglob("*") if file.is_file())
    print(f"{len(list(ROOT.iterdir()))} fixtures, {size} bytes")


main()
