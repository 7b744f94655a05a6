#!/usr/bin/env python3
"""Which penalty and how many terms: ridge regression of the progress of diabetes, by cross-validation over a grid.

Reads   data/diabetes.csv  442 patients, ten measurements, progression after a year (Efron et al. 2004)
Writes  results/grid.csv, results/best.json, results/predictions.csv, results/error.{svg,png}

The ten measurements, their squares and products are 64 terms (sex has no square). Within each training fold they are put in the
order of their correlation with the target, and the first ones are kept: so the choice never sees the fold that judges it.
"""

import csv
import json
import math
import os
import random
from itertools import combinations_with_replacement
from pathlib import Path

from picture import Picture, shade

FOLDS = int(os.environ.get("FOLDS", "10"))
SEED = int(os.environ.get("SEED", "1"))
PENALTIES = [10 ** (power / 2) for power in range(-4, 9)]  # 0.01 to 10000
TERMS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
RESULTS = Path("results")


def read(path):
    """Names of the measurements, rows of them, and the target."""
    with Path(path).open(newline="") as file:
        header, *rows = csv.reader(file)
    values = [[float(value) for value in row] for row in rows]
    return header[:-1], [row[:-1] for row in values], [row[-1] for row in values]


def expand(names, rows):
    """Measurements, squares and products, of centred values so that a product is not a copy of its factors."""
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    centred = [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]
    pairs = [pair for pair in combinations_with_replacement(range(len(names)), 2) if pair != (1, 1)]
    titles = list(names) + [f"{names[i]}*{names[j]}" for i, j in pairs]
    return titles, [row + [row[i] * row[j] for i, j in pairs] for row in centred]


def standardise(rows):
    """Mean and deviation of each column."""
    columns = list(zip(*rows, strict=True))
    means = [math.fsum(column) / len(rows) for column in columns]
    spreads = [
        math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(rows)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]
    return means, spreads


def scaled(rows, means, spreads):
    return [[(v - m) / s for v, m, s in zip(row, means, spreads, strict=True)] for row in rows]


def dot(one, other):
    return sum(map(float.__mul__, one, other))


def solve(gram, right, penalty):
    """The coefficients: (gram + penalty) x = right, by Cholesky's factorisation."""
    size = len(right)
    lower = []
    for i in range(size):
        row = []
        for j in range(i):
            row.append((gram[i][j] - dot(row[:j], lower[j][:j])) / lower[j][j])
        row.append(math.sqrt(gram[i][i] + penalty - dot(row, row)))
        lower.append(row)
    forward = []
    for i in range(size):
        forward.append((right[i] - dot(lower[i][:i], forward)) / lower[i][i])
    solution = [0.0] * size
    for i in reversed(range(size)):
        rest = math.fsum(lower[j][i] * solution[j] for j in range(i + 1, size))
        solution[i] = (forward[i] - rest) / lower[i][i]
    return solution


class Fold:
    """A training set, its terms in the order of their correlation with the target."""

    def __init__(self, rows, target):
        self.means, self.spreads = standardise(rows)
        self.middle = math.fsum(target) / len(target)
        columns = list(zip(*scaled(rows, self.means, self.spreads), strict=True))
        centred = [value - self.middle for value in target]
        right = [dot(column, centred) for column in columns]
        self.order = sorted(range(len(columns)), key=lambda term: -abs(right[term]))
        columns = [columns[term] for term in self.order]
        self.right = [right[term] for term in self.order]
        self.gram = [[dot(one, other) for other in columns[: i + 1]] for i, one in enumerate(columns)]

    def fit(self, terms, penalty):
        return solve(self.gram[:terms], self.right[:terms], penalty)

    def predict(self, weights, rows):
        order = self.order[: len(weights)]
        return [
            self.middle + dot(weights, [row[term] for term in order]) for row in scaled(rows, self.means, self.spreads)
        ]


def cross_validate(rows, target):
    """The squared error of each fold at each place of the grid."""
    order = list(range(len(rows)))
    random.Random(SEED).shuffle(order)  # noqa: S311 - a seeded order, no secret
    errors = {(terms, penalty): [] for terms in TERMS for penalty in PENALTIES}
    for number in range(FOLDS):
        held = order[number::FOLDS]
        kept = [index for index in order if index not in set(held)]
        fold = Fold([rows[i] for i in kept], [target[i] for i in kept])
        judged = [rows[i] for i in held]
        for (terms, penalty), found in errors.items():
            guesses = fold.predict(fold.fit(terms, penalty), judged)
            found.append(
                math.fsum((guess - target[i]) ** 2 for guess, i in zip(guesses, held, strict=True)) / len(held)
            )
        print(f"fold {number + 1} of {FOLDS}", flush=True)
    return errors


def draw(errors, best, simplest):
    """A heat map of the error; a ring marks the least, a dot the simplest that is as good within its error."""
    cell, left, top = 44, 96, 70
    figure = Picture(left + cell * len(PENALTIES) + 40, top + cell * len(TERMS) + 150)
    middle = lambda place: (  # noqa: E731
        left + (PENALTIES.index(place[1]) + 0.5) * cell,
        top + (TERMS.index(place[0]) + 0.5) * cell,
    )
    low, high = min(errors.values()), max(errors.values())
    figure.text(20, 30, f"Diabetes, ridge regression: error in {FOLDS}-fold cross-validation", 14)
    for (terms, penalty), error in errors.items():
        x, y = middle((terms, penalty))
        near = (error - low) / (high - low)
        figure.box(x - cell / 2, y - cell / 2, cell - 1, cell - 1, shade(near**0.5))
        figure.text(x, y + 4, f"{error:.1f}", 14, "#ffffff" if near**0.5 > 0.45 else "#222222", "middle")
    for terms in TERMS:
        figure.text(left - 10, middle((terms, PENALTIES[0]))[1] + 5, str(terms), 14, anchor="end")
    for penalty in PENALTIES[::2]:
        figure.text(middle((1, penalty))[0], top + cell * len(TERMS) + 20, f"{penalty:g}", 14, anchor="middle")
    figure.text(24, top + cell * len(TERMS) / 2, "terms", 14, anchor="middle", turned=True)
    figure.text(left + cell * len(PENALTIES) / 2, top + cell * len(TERMS) + 44, "penalty", 14, anchor="middle")
    x, y = middle(best)
    frame = [(x - 19, y - 19), (x + 18, y - 19), (x + 18, y + 18), (x - 19, y + 18), (x - 19, y - 19)]
    figure.line(frame, "#1b6ca8", 3)
    x, y = middle(simplest)
    figure.dot(x, y + 14, 4, "#1b6ca8")
    foot = top + cell * len(TERMS) + 80
    figure.line(
        [(left, foot - 11), (left + 11, foot - 11), (left + 11, foot), (left, foot), (left, foot - 11)], "#1b6ca8", 3
    )
    figure.text(left + 24, foot, f"least error {errors[best]:.2f}: {best[0]} terms, penalty {best[1]:g}", 14)
    figure.dot(left + 5, foot + 20, 4, "#1b6ca8")
    words = f"simplest within its error {errors[simplest]:.2f}: {simplest[0]} terms, penalty {simplest[1]:g}"
    figure.text(left + 24, foot + 25, words, 14)
    figure.text(left, foot + 50, "root mean squared error, in the units of the progression", 14, "#666666")
    figure.save(RESULTS / "error")


def main():
    RESULTS.mkdir(exist_ok=True)
    names, measured, target = read("data/diabetes.csv")
    titles, rows = expand(names, measured)
    squared = cross_validate(rows, target)
    means = {place: math.fsum(found) / FOLDS for place, found in squared.items()}
    best = min(means, key=means.get)
    spread = math.sqrt(math.fsum((one - means[best]) ** 2 for one in squared[best]) / (FOLDS - 1) / FOLDS)
    # The one-standard-error rule: fewest terms, then the strongest penalty, whose error is within that of the best.
    simplest = min(
        (place for place in means if means[place] <= means[best] + spread), key=lambda place: (place[0], -place[1])
    )
    errors = {place: math.sqrt(mean) for place, mean in means.items()}
    with (RESULTS / "grid.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("terms", "penalty", "rmse", *(f"fold_{number + 1}" for number in range(FOLDS))))
        for (terms, penalty), found in squared.items():
            folds = (f"{math.sqrt(one):.4f}" for one in found)
            writer.writerow((terms, f"{penalty:.6g}", f"{errors[terms, penalty]:.4f}", *folds))
    whole = Fold(rows, target)
    weights = whole.fit(*simplest)
    model = {titles[term]: round(weight, 4) for term, weight in zip(whole.order, weights, strict=False)}
    report = {
        "best": {"terms": best[0], "penalty": best[1], "rmse": round(errors[best], 4)},
        "simplest": {"terms": simplest[0], "penalty": simplest[1], "rmse": round(errors[simplest], 4)},
        "weights": model,
        "seed": SEED,
        "folds": FOLDS,
    }
    (RESULTS / "best.json").write_text(json.dumps(report, indent=2) + "\n")
    with (RESULTS / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("progression", "predicted"))
        writer.writerows(
            (f"{y:g}", f"{guess:.2f}") for y, guess in zip(target, whole.predict(weights, rows), strict=True)
        )
    draw(errors, best, simplest)
    print(f"{len(means)} places: least error {errors[best]:.2f} at {best[0]} terms and penalty {best[1]:g}")
    print(
        f"simplest within its error: {errors[simplest]:.2f} at {simplest[0]} terms and penalty {simplest[1]:g}: {', '.join(model)}"
    )


if __name__ == "__main__":
    main()
