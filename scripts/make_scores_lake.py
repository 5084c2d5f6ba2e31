"""Makes a lake whose scores can be regenerated at any size: N neurons with ten scored windows each, the activations synthetic.

    python scripts/make_scores_lake.py FOLDER --neurons 307200 --program target/release/neuronlake

FOLDER then has a model (GPT-2's layout with a residual stream of 8 and up to 6,400 neurons a layer, random weights), a corpus of short
texts, `pipeline.toml`, and the lake. The tables are the program's own: it runs the pipeline for one neuron of every layer, and the rows of
`activation_records` and `simulations` are then replaced by synthetic ones under the same model, corpus and run, in the same order and of the
same types: of each neuron five top and five random windows of 64 tokens, each simulated for the neuron's own explanation and for its control.
Seeded: the same arguments give the same rows.
"""

import argparse
import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake

WIDTH, D_MODEL, WINDOW, SAMPLES, RANKS = 6_400, 8, 64, ("top", "random"), 5


def byte_tokens() -> list[str]:
    """The characters that GPT-2's tokenizer writes bytes as, byte by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def make_model(folder: Path, layers: int, width: int, rng: np.random.Generator) -> None:
    folder.mkdir()
    tokens = byte_tokens() + ["<|endoftext|>"]
    shapes = {"wte.weight": (len(tokens), D_MODEL), "wpe.weight": (WINDOW, D_MODEL), "ln_f.weight": (D_MODEL,), "ln_f.bias": (D_MODEL,)}
    for layer in range(layers):
        shapes |= {f"h.{layer}.{name}": shape for name, shape in {
            "ln_1.weight": (D_MODEL,), "ln_1.bias": (D_MODEL,), "ln_2.weight": (D_MODEL,), "ln_2.bias": (D_MODEL,),
            "attn.c_attn.weight": (D_MODEL, 3 * D_MODEL), "attn.c_attn.bias": (3 * D_MODEL,),
            "attn.c_proj.weight": (D_MODEL, D_MODEL), "attn.c_proj.bias": (D_MODEL,),
            "mlp.c_fc.weight": (D_MODEL, width), "mlp.c_fc.bias": (width,),
            "mlp.c_proj.weight": (width, D_MODEL), "mlp.c_proj.bias": (D_MODEL,),
        }.items()}
    header, weights, end = {}, [], 0
    for name, shape in shapes.items():
        values = (1 if "ln" in name and name.endswith("weight") else 0.2 * rng.standard_normal(shape)) * np.ones(shape)
        weights.append(values.astype("<f4").tobytes())
        header[f"transformer.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + len(weights[-1])]}
        end += len(weights[-1])
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(weights))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": D_MODEL, "n_head": 2,
        "n_inner": width, "n_layer": layers, "n_positions": WINDOW, "n_ctx": WINDOW, "vocab_size": len(tokens), "layer_norm_epsilon": 1e-5,
        "bos_token_id": 256, "eos_token_id": 256, "tie_word_embeddings": True,
    }))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
        "decoder": byte_level,
        "added_tokens": [{"id": 256, "content": tokens[256], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": True}],
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []},
    }))


def make_corpus(path: Path, rng: np.random.Generator) -> None:
    words = "the sea was cold and a king rode over hills with three ships of bread in old songs she said that rain would come".split()
    texts = [" ".join(rng.choice(words, 24)) for _ in range(48)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def lists(values: np.ndarray, type_: pa.DataType) -> pa.Array:
    """Rows of equally many numbers as lists."""
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel())).cast(type_)


def rows(template: dict, schema: pa.Schema, columns: dict, n: int) -> pa.Table:
    """The columns given, and the template's value for every other one."""
    def same(field: pa.Field) -> pa.Array:
        return pa.array([template[field.name]], field.type).take(pa.array(np.zeros(n, np.int64)))
    given = {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    return pa.table([given[field.name].cast(field.type) if field.name in given else same(field) for field in schema], schema=schema)


def fill(lake: Path, layers: int, width: int, rng: np.random.Generator) -> None:
    tables = {name: DeltaTable(lake / name).to_pyarrow_table() for name in ["activation_records", "simulations"]}
    of = {name: table.filter(pa.compute.equal(table["split"].cast(pa.string()), "valid")).to_pylist()[0] for name, table in tables.items()}
    writer = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=1 << 14)
    n_windows = len(SAMPLES) * RANKS
    for layer in range(layers):
        neurons = np.repeat(np.arange(width), n_windows)
        n = len(neurons)
        unit = {"hook_point": pa.array([f"blocks.{layer}.mlp.hook_post"]).take(pa.array(np.zeros(n, np.int64))),
                "layer": np.full(n, layer), "neuron": neurons, "sample": pa.array(SAMPLES).take(pa.array(np.arange(n) % n_windows // RANKS)),
                "rank": np.arange(n) % RANKS, "sequence": np.arange(n)}
        actual = (rng.random((n, WINDOW)) ** 8 - 0.1).astype(np.float32)
        noise = rng.random((2, n, WINDOW)).astype(np.float32)
        expected = [0.5 * actual + 0.5 * noise[0], noise[1]]
        keys = pa.array([f"{layer * width + neuron:016x}" for neuron in range(width)])
        own, other = keys.take(pa.array(neurons)), keys.take(pa.array((neurons + 1) % width))
        schema = tables["activation_records"].schema
        records = rows(of["activation_records"], schema, {
            **unit, "max_activation": actual.max(axis=1), "activations": lists(actual, schema.field("activations").type)}, n)
        schema = tables["simulations"].schema
        # Both simulations of a neuron stand together, as the table's order has them.
        order = pa.array(np.argsort(np.concatenate([neurons, neurons]), kind="stable"))
        simulations = pa.concat_tables(
            rows(of["simulations"], schema, {
                **unit, "explanation": own, "source_explanation": [own, other][control], "control": np.full(n, bool(control)),
                "expected": lists(expected[control], schema.field("expected").type)}, n)
            for control in range(2)).take(order)
        mode = "overwrite" if layer == 0 else "append"
        for name, table in [("activation_records", records), ("simulations", simulations)]:
            write_deltalake(lake / name, table, mode=mode, partition_by=["model", "hook_point"], writer_properties=writer)
        print(f"layer {layer + 1} of {layers}: {(layer + 1) * width} neurons", flush=True)


def make(folder: Path, neurons: int, program: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = -(-neurons // WIDTH)
    width = -(-neurons // layers)
    folder.mkdir(parents=True)
    make_model(folder / "model", layers, width, rng)
    make_corpus(folder / "corpus.jsonl", rng)
    text = 'lake = "lake"\n[[sources]]\ncorpus = "corpus.jsonl"\n[[models]]\nmodel = "./model"\n'
    (folder / "pipeline.toml").write_text(text)
    (folder / "first.toml").write_text(text + 'neurons = "0-1"\n')
    subprocess.run([program, "--quiet", "pipeline", "run", "first.toml"], cwd=folder, check=True)
    fill(folder / "lake", layers, width, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neurons", type=int, default=307_200)
    parser.add_argument("--program", default="target/release/neuronlake")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make(options.folder, options.neurons, str(Path(options.program).absolute()), options.seed)


if __name__ == "__main__":
    main()
