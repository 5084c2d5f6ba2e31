#!/usr/bin/env python3
"""Writes a dataset in the layout of OpenAI's neuron explanations, with made-up but realistic content.

    python scripts/make_openai_dataset.py OUT --neurons 5000

Windows of 64 tokens come from a pool of 50,000, as in the published data. What a file of records holds is taken from a published one (GPT-2
XL, layer 1, neuron 1, of which apartresearch/deepdecipher has a copy at commit a71b96e as src/1.json): by the lengths of its lists 50 random records, five
lists of 20 by quantile, of which the last are among the 50 top records, falling; float16 activations of x * sigmoid(1.702 x) rounded to four decimals, moments rounded
likewise, boundaries of quantiles between two nulls. It says nothing about the other files: one explanation scored on 10 windows with
a distribution over 0 to 10 at every token in all digits of a 64-bit number, related neurons and tokens in as many. Needs numpy and orjson.
"""

import argparse
import pathlib

import numpy
import orjson

LENGTH = 64
# Shares of a neuron's largest activation that part its five lists by quantile.
EDGES = numpy.array([0.01, 0.2, 0.45, 0.7])


def words(random, count):
    """Made-up tokens with the lengths of a byte-level vocabulary, half of them with a space before."""
    letters = numpy.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    share = 1 / numpy.arange(1, 27)
    share /= share.sum()
    made = []
    for _ in range(count):
        text = "".join(random.choice(letters, size=random.integers(1, 8), p=share))
        made.append((" " if random.random() < 0.6 else "") + text)
    made[:6] = [",", ".", "\n", '"', " the", " \u201c"]
    return made


class Neuron:
    """How a made-up neuron fires: pre-activations are normal, about a mean of the neuron's and a shift of the window's."""

    def __init__(self, random):
        self.random = random
        self.mean = random.normal(-2.2, 0.4)
        self.spread = random.uniform(0.6, 1.0)

    def activations(self, peak, n_hot):
        """Activations of a window whose largest is about `peak`, at the first of `n_hot` places: shape [LENGTH]."""
        x = self.random.normal(self.mean + self.random.normal(0, 0.4), self.spread, LENGTH)
        values = x / (1 + numpy.exp(-1.702 * x))
        values = numpy.minimum(values, max(peak, 0))
        places = self.random.choice(LENGTH, size=n_hot, replace=False)
        values[places] = peak * self.random.random(n_hot) ** 2
        values[places[:1]] = peak
        return published(values)


def published(values):
    """Numbers as the published files of records have them: of 16 bits, rounded to four decimals."""
    return numpy.asarray(values).astype(numpy.float16).astype(float).round(4)


def record(window, values):
    return {"dataclass_name": "ActivationRecord", "tokens": window, "activations": values.tolist()}


def simulation(random, window, values, with_distribution, certainty):
    logits = random.normal(-2.0, 1.5, (LENGTH, 11))
    logits[:, 0] += certainty
    hot = numpy.flatnonzero(values > 0.5 * max(values.max(), 1e-6))
    logits[hot, 0] -= 6
    logits[hot, random.integers(4, 11)] += 4
    # The simulator's fifteen likeliest tokens leave out some of the eleven numbers.
    kept = numpy.argsort(-logits, axis=1)[:, : random.integers(8, 12)]
    probabilities = numpy.exp(logits)
    rows_v, rows_p, expected = [], [], []
    for token in range(LENGTH):
        chosen = kept[token]
        p = probabilities[token, chosen]
        p = p / p.sum()
        rows_v.append(chosen.tolist())
        rows_p.append(p.tolist())
        expected.append(float((p * chosen).sum()))
    simulated = {
        "dataclass_name": "SequenceSimulation",
        "tokens": window,
        "expected_activations": expected,
        "activation_scale": "simulated_normalized_activations",
        "distribution_values": rows_v if with_distribution else [],
        "distribution_probabilities": rows_p if with_distribution else [],
        "uncalibrated_simulation": None,
    }
    return simulated, numpy.array(expected)


def scores(true, expected):
    true = true.astype(float)
    return {
        "ev_correlation_score": float(numpy.corrcoef(true, expected)[0, 1]),
        "rsquared_score": float(1 - numpy.mean((true - expected) ** 2) / numpy.mean(true**2)),
        "absolute_dev_explained_score": float(1 - numpy.mean(abs(true - expected)) / numpy.mean(abs(true))),
    }


def write(path, value, end=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = orjson.dumps(value) + end
    path.write_bytes(data)
    return len(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--neurons", type=int, default=5000)
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--certainty", type=float, default=5, help="advantage of the answer 0, in nats: 5 gives it 0.72 on average, 9 gives it 0.93"
    )
    arguments = parser.parse_args()
    random = numpy.random.default_rng(arguments.seed)
    vocabulary = words(random, 20_000)
    share = 1 / numpy.arange(1, len(vocabulary) + 1) ** 1.0
    share /= share.sum()
    ids = random.choice(len(vocabulary), size=(arguments.pool, LENGTH), p=share)
    windows = [[vocabulary[i] for i in row] for row in ids]

    def window():
        return windows[random.integers(len(windows))]

    def some_words(count):
        return [vocabulary[i] for i in random.integers(len(vocabulary), size=count)]

    total = 0
    per_layer = 6_400
    for number in range(arguments.neurons):
        layer, neuron = divmod(number, per_layer)
        name = {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": neuron}
        fires = Neuron(random)
        scale = float(random.lognormal(0.7, 0.5))

        def records(count, low, high):
            """Records of windows with a maximum between two shares of the neuron's largest, rising."""
            peaks = numpy.sort(random.uniform(low, high, count)) * scale
            return [record(window(), fires.activations(peak, 1 + random.poisson(3 * peak / scale))) for peak in peaks]

        rest = [record(window(), fires.activations(scale * share, 1)) for share in random.exponential(0.08, 50).clip(0, 1)]
        top = records(50, 0.7, 1.0)[::-1]
        quantiles = [records(20, low, high) for low, high in zip([0.0, *EDGES], EDGES)]
        quantiles.append([top[i] for i in sorted(random.choice(50, size=20, replace=False), reverse=True)])
        moments = published([random.normal(-0.05, 0.02), random.random() * 0.05, random.normal(8, 3), random.lognormal(4, 1)])
        place = f"{layer}/{neuron}"
        total += write(
            arguments.out / "collated-activations" / f"{place}.json",
            {
                "dataclass_name": "NeuronRecord",
                "neuron_id": name,
                "random_sample": rest,
                "random_sample_by_quantile": quantiles,
                "quantile_boundaries": [None, *published(scale * EDGES).tolist(), None],
                **dict(zip(("mean", "variance", "skewness", "kurtosis"), moments.tolist())),
                "most_positive_activation_records": top,
            },
        )
        scored, trues, expecteds = [], [], []
        for source in [top[i] for i in (2, 6, 10, 14, 18)] + [rest[i] for i in (1, 4, 7, 10, 13)]:
            true = numpy.array(source["activations"])
            simulated, expected = simulation(random, source["tokens"], true, True, arguments.certainty)
            scored.append(
                {
                    "dataclass_name": "ScoredSequenceSimulation",
                    "simulation": simulated,
                    "true_activations": source["activations"],
                    **scores(true, expected),
                }
            )
            trues.append(true)
            expecteds.append(expected)
        results = {
            "dataclass_name": "NeuronSimulationResults",
            "neuron_id": name,
            "scored_explanations": [
                {
                    "dataclass_name": "ScoredExplanation",
                    "explanation": " words about" + "".join(some_words(6)) + ".",
                    "scored_simulation": {
                        "dataclass_name": "ScoredSimulation",
                        "scored_sequence_simulations": scored,
                        **scores(numpy.concatenate(trues), numpy.concatenate(expecteds)),
                    },
                }
            ],
        }
        total += write(arguments.out / "explanations" / f"{place}.jsonl", results, b"\n")

        def linked(low, high):
            return {
                "top_positive_neurons": [f"{random.integers(low, high)}_{random.integers(per_layer)}" for _ in range(10)],
                "top_positive_weights": sorted(random.random(10).tolist(), reverse=True),
                "top_negative_neurons": [f"{random.integers(low, high)}_{random.integers(per_layer)}" for _ in range(10)],
                "top_negative_weights": sorted((-random.random(10)).tolist()),
            }

        total += write(
            arguments.out / "related-neurons/weight-based" / f"{place}.json",
            {"c_fc": linked(0, layer) if layer else None, "c_proj": linked(layer + 1, 48)},
        )
        total += write(
            arguments.out / "related-tokens/activation-based" / f"{place}.json",
            {
                "dataclass_name": "TokenLookupTableSummaryOfNeuron",
                "tokens": some_words(20),
                "average_activations": sorted((random.random(20) * scale).tolist(), reverse=True),
            },
        )
        weights = {
            side: {
                "dataclass_name": "TokensAndWeights",
                "tokens": some_words(20),
                "strengths": sorted((random.random(20) * sign).tolist(), key=lambda weight: -abs(weight)),
            }
            for side, sign in (
                ("input_positive", 1),
                ("input_negative", -1),
                ("output_positive", 1),
                ("output_negative", -1),
            )
        }
        total += write(
            arguments.out / "related-tokens/weight-based" / f"{place}.json",
            {"dataclass_name": "WeightBasedSummaryOfNeuron", **weights},
        )
    print(f"{arguments.neurons} neurons, {total} bytes, {total / arguments.neurons:.0f} a neuron")


if __name__ == "__main__":
    main()
