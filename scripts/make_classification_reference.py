#!/usr/bin/env python3
"""Makes tests/data/reference/classification.json: scikit-learn's numbers over seeded judgements.

A list of {activating, predicted, value, metrics}: flags 0 or 1 and values (many of them equal) of some windows, and
accuracy, balanced_accuracy, f1, precision, recall, roc_auc and hit_rate (recall of the windows that are not activating).

Run:  python scripts/make_classification_reference.py [--out tests/data/reference/classification.json]
Made with scikit-learn 1.9.1.
"""

import argparse
import json
import random
from pathlib import Path

from sklearn import metrics


def case(n, share, noise, seed):
    generator = random.Random(seed)
    activating = [int(generator.random() < share) for _ in range(n)]
    # One digit, so that there are ties.
    value = [round(0.5 * a + noise * generator.random(), 1) for a in activating]
    predicted = [int(v + 0.2 * generator.random() > 0.6) for v in value]
    numbers = {
        "accuracy": metrics.accuracy_score(activating, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(activating, predicted),
        "f1": metrics.f1_score(activating, predicted, zero_division="warn"),
        "hit_rate": metrics.recall_score(activating, predicted, pos_label=0),
        "precision": metrics.precision_score(activating, predicted, zero_division="warn"),
        "recall": metrics.recall_score(activating, predicted),
        "roc_auc": metrics.roc_auc_score(activating, value),
    }
    return {"activating": activating, "predicted": predicted, "value": value, "metrics": numbers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/data/reference/classification.json"))
    arguments = parser.parse_args()
    cases = [case(10, 0.5, 0.7, 1), case(10, 0.5, 1.5, 2), case(40, 0.2, 0.9, 3), case(100, 0.8, 1.1, 4), case(7, 0.4, 0.1, 5)]
    arguments.out.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
