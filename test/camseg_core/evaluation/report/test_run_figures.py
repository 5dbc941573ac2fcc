# SPDX-License-Identifier: Apache-2.0
"""Every figure of the report, computed again from the JSON lines by plain Python."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.report.figures import figures_to_json
from camseg_core.evaluation.report.run_figures import run_figures
from camseg_core.evaluation.summary import summarize
from camseg_core.labels import LabelSet

SIX = LabelSet(
    "six",
    ("sky", "road", "car", "pole", "person", "never there"),
    tuple((40 * index, 255 - 40 * index, 90) for index in range(6)),
)
CORRUPTIONS = select_corruptions("gaussian_noise:5,gaussian_noise:50,hue:-0.1")
PARAMETERS = (  # names and steps are not sorted by chance
    ("official", (4, 1)),
    ("published", (2,)),
)
UNIT = 2**20


@pytest.fixture(scope="module", params=PARAMETERS, ids=[name for name, _ in PARAMETERS])
def folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    simulate_run: Callable[..., Path],
    simulated_images: Callable[..., list[Any]],
) -> Path:
    """A run of two parts, the first with two conditions, and one class that the truth lacks."""
    protocol, steps = request.param
    images = [
        *simulated_images(7, 5, ("fog", "night"), "adverse"),
        *simulated_images(5, 5, ("clear",), "reference"),
    ]
    images[1] = replace(images[1], truth=images[1].truth * 0 + 255)  # nothing labeled
    return simulate_run(
        tmp_path_factory.mktemp(protocol), images, SIX,
        protocol=protocol, steps=steps, corruptions=CORRUPTIONS,
    )  # fmt: skip


def test_figures_are_what_plain_python_computes_from_the_json_lines(folder: Path) -> None:
    content = json.loads(figures_to_json([run_figures(summarize(folder))]))
    assert_same(content, {"runs": [plain_figures(folder)]}, "")


def assert_same(found: Any, expected: Any, place: str) -> None:
    """Compare everything; floats to the last digits, which the order of a sum decides."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{place}[{index}]")
    elif isinstance(expected, float | Fraction):
        assert found == pytest.approx(float(expected), rel=1e-12, abs=1e-15), place
    else:
        assert found == expected, place


# The same figures, in plain Python


def plain_figures(folder: Path) -> dict[str, Any]:
    run = json.loads((folder / "run.json").read_text())
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("records-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    records = [line for line in lines if line["kind"] == "image"]
    session = next(line for line in lines if line["kind"] == "session")
    clean = [record for record in records if record["corruption"] == "none"]
    steps = sorted({record["steps"] for record in records})
    parts = sorted({record["part"] for record in records})
    fit = sequences_to_fit(records)
    table = Plain(run, records, fit)
    rows, corrupted = [], []
    for part in parts:
        conditions = sorted({record["condition"] for record in records if record["part"] == part})
        for count in steps:
            rows.extend(
                table.row(part, count, condition)
                for condition in ([None, *conditions] if len(conditions) > 1 else conditions)
            )
            corrupted.extend(
                table.row(part, count, None, name, level)
                for name, level in sorted({(r["corruption"], r["level"]) for r in records})
                if name != "none"
            )
    ranked = sorted(
        (image_score(record), record["sample"])
        for record in clean
        if record["steps"] == steps[-1] and sum(map(sum, record["counts"]))
    )
    frames = [{"sample": name, "steps": steps[-1], "score": score} for score, name in ranked]
    return {
        "name": folder.name,
        "dataset": "drawn",
        "split": "val",
        "protocol": run["protocol"],
        "score_name": {"official": "mIoU", "published": "mean precision"}[run["protocol"]],
        "label_set": "six",
        "model": "demo",
        "weights": [session["weights"]],
        "weights_sha256": run["weights_sha256"],
        "is_random": False,
        "sampling": run["sampling"],
        "corruption_seed": 0,
        "machines": ["Some Processor, 2 cores, 8 GiB; cpu, 1 thread"],
        "libraries": ["torch 2.0"],
        "started": [session["started_at"]],
        "images": len({record["sample"] for record in clean}),
        "steps": steps,
        "rows": rows,
        "corrupted_rows": corrupted,
        "parts": [table.part(part, steps[-1], corrupted) for part in parts],
        "worst": frames[:4],
        "best": frames[4:][::-1][:4],
    }


class Plain:
    """The records of a run, and sums over some of them."""

    def __init__(self, run: dict[str, Any], records: list[Any], fit: set[Any]) -> None:
        self.names = run["label_set"]["names"]
        self.colors = run["label_set"]["palette"]
        self.official = run["protocol"] == "official"
        self.records = records
        self.fit = fit

    def chosen(self, **wanted: Any) -> list[Any]:
        return [r for r in self.records if all(r[key] == value for key, value in wanted.items())]

    def row(
        self, part: str, steps: int, condition: str | None, name: str = "none", level: float = 0.0
    ) -> dict[str, Any]:
        of_condition = {} if condition is None else {"condition": condition}
        wanted = {"part": part, "steps": steps, **of_condition}
        records = self.chosen(**wanted, corruption=name, level=level)
        clean = self.score(confusion_of(self.chosen(**wanted, corruption="none")))
        counts, score = confusion_of(records), self.score(confusion_of(records))
        total = sum(map(sum, counts))
        scaled, temperature = self.scaled(records)
        errors = by_confidence(records)
        seconds = [sum(record["stage_seconds"].values()) for record in records]
        correct = sum(row[index] for index, row in enumerate(counts))
        weighted = sum(
            (iou(counts, index) or 0) * Fraction(sum(row), total)
            for index, row in enumerate(counts)
        )
        class_errors = [
            error for index in range(6) if (error := class_error(records, index)) is not None
        ]
        return {
            "part": part,
            "steps": steps,
            "condition": condition,
            "corruption": name,
            "level": level,
            "images": len(records),
            "score": score,
            "relative_to_clean": None if name == "none" else score / clean,
            "pixel_accuracy": Fraction(correct, total) if self.official else None,
            "frequency_weighted_iou": weighted if self.official else None,
            "expected_calibration_error": reliability_of(records)["expected_calibration_error"],
            "classwise_calibration_error": sum(class_errors) / len(class_errors),
            "temperature": temperature,
            "scaled_temperature": scaled and scaled["temperature"],
            "scaled_calibration_error": (
                scaled and scaled["reliability"]["expected_calibration_error"]
            ),
            "negative_log_likelihood": Fraction(packed_sum(records, "nll_units")[0], UNIT * total),
            "risk_at_coverage": risk_at(errors, 0.95),
            "risk_coverage_area": area(errors),
            "milliseconds_per_image": 1000 * sum(seconds) / len(seconds),
            "median_milliseconds_per_image": 1000 * statistics.median(seconds),
        }

    def score(self, counts: list[list[int]]) -> Fraction:
        if self.official:
            defined = [value for index in range(6) if (value := iou(counts, index)) is not None]
            return sum(defined) / len(defined)
        return sum(published_precision(counts, index) for index in range(6)) / 6

    def class_score(self, counts: list[list[int]], index: int) -> Any:
        return iou(counts, index) if self.official else published_precision(counts, index)

    def scaled(self, records: list[Any]) -> tuple[dict[str, Any] | None, float | None]:
        fitted = [record for record in records if sequence_of(record) in self.fit]
        judged = [record for record in records if sequence_of(record) not in self.fit]
        if not (sum_of(fitted, "temperature_count") and sum_of(judged, "temperature_count")):
            return None, None
        temperature = best_temperature(packed_sum(fitted, "temperature_nll_units"))
        place = min(range(21), key=lambda k: abs(math.log(2 ** (k / 4 - 2) / temperature)))
        bins = slice(15 * place, 15 * place + 15)
        diagram = reliability(
            packed_sum(judged, "temperature_count")[bins],
            packed_sum(judged, "temperature_correct")[bins],
            packed_sum(judged, "temperature_confidence_units")[bins],
        )
        pixels = sum(diagram["bin_count"])
        nll = packed_sum(judged, "temperature_nll_units")[place]
        return {
            "temperature": 2 ** (place / 4 - 2),
            "reliability": diagram,
            "negative_log_likelihood": Fraction(nll, UNIT * pixels),
            "pixel_count": pixels,
        }, temperature

    def part(self, part: str, steps: int, corrupted: list[Any]) -> dict[str, Any]:
        records = self.chosen(part=part, steps=steps, corruption="none")
        counts = confusion_of(records)
        total = sum(map(sum, counts))
        conditions = sorted({record["condition"] for record in records})
        by_condition = {
            name: confusion_of([record for record in records if record["condition"] == name])
            for name in (conditions if len(conditions) > 1 else [])
        }
        shares = [
            [Fraction(value, sum(row)) if sum(row) else None for value in row] for row in counts
        ]
        columns = [*self.names, "unlabeled"]
        wrong = sorted(
            (-counts[i][j], i, j) for i in range(6) for j in range(7) if i != j and counts[i][j]
        )[:10]
        return {
            "part": part,
            "classes": [
                {
                    "name": name,
                    "color": self.colors[index],
                    "pixels": sum(counts[index]),
                    "share_of_pixels": Fraction(sum(counts[index]), total),
                    "iou": iou(counts, index) if self.official else None,
                    "precision": (
                        quotient(counts[index][index], sum(row[index] for row in counts))
                        if self.official
                        else published_precision(counts, index)
                    ),
                    "recall": (
                        quotient(counts[index][index], sum(counts[index]))
                        if self.official
                        else None
                    ),
                    "calibration_error": class_error(records, index),
                    "score_by_condition": {
                        condition: self.class_score(found, index)
                        for condition, found in by_condition.items()
                    },
                }
                for index, name in enumerate(self.names)
            ],
            "confusion": counts,
            "confusion_shares": shares,
            "largest_confusions": [
                {
                    "truth": self.names[i],
                    "prediction": columns[j],
                    "pixels": -negative,
                    "share": shares[i][j],
                }
                for negative, i, j in wrong
            ],
            "reliability": reliability_of(records),
            "scaled": self.scaled(records)[0],
            "risk_coverage": risk_coverage_of(records),
            "curves": [
                curve(name, meaning, 0, [
                    row for row in corrupted
                    if (row["part"], row["steps"], row["corruption"]) == (part, steps, name)
                ])
                for name, meaning in (
                    ("gaussian_noise", "standard deviation in grey levels"),
                    ("hue", "turn as a share of the full circle"),
                )
            ],
        }  # fmt: skip


def curve(name: str, meaning: str, identity: float, rows: list[Any]) -> dict[str, Any]:
    return {
        "corruption": name,
        "meaning": meaning,
        "identity": identity,
        "rows": rows,
        "mean_relative": sum(row["relative_to_clean"] for row in rows) / len(rows),
    }


def sequence_of(record: Any) -> tuple[str, str, str]:
    return record["part"], record["condition"], record["sequence"] or record["sample"]


def sequences_to_fit(records: list[Any]) -> set[tuple[str, str, str]]:
    groups = defaultdict(set)
    for record in records:
        part, condition, name = sequence_of(record)
        groups[part, condition].add(name)
    return {
        (*group, name)
        for group, names in groups.items()
        for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[1::2]
    }


def quotient(numerator: int, denominator: int) -> Fraction | None:
    return Fraction(numerator, denominator) if denominator else None


def confusion_of(records: list[Any]) -> list[list[int]]:
    return [[sum(record["counts"][i][j] for record in records) for j in range(7)] for i in range(6)]


def iou(counts: list[list[int]], index: int) -> Fraction | None:
    predicted = sum(row[index] for row in counts)
    return quotient(counts[index][index], sum(counts[index]) + predicted - counts[index][index])


def published_precision(counts: list[list[int]], index: int) -> float:
    return counts[index][index] / (sum(row[index] for row in counts) + 1e-10)


def image_score(record: Any) -> Fraction:
    defined = [v for index in range(6) if (v := iou(record["counts"], index)) is not None]
    return sum(defined) / len(defined)


def packed_sum(records: list[Any], name: str) -> list[int]:
    """Add packed lists: -n stands for n zeros."""
    arrays = []
    for record in records:
        values: list[int] = []
        for value in record["calibration"][name]:
            values.extend([0] * -value if value < 0 else [value])
        arrays.append(values)
    return [sum(column) for column in zip(*arrays, strict=True)]


def sum_of(records: list[Any], name: str) -> int:
    return sum(packed_sum(records, name))


def reliability(count: list[int], correct: list[int], units: list[int]) -> dict[str, Any]:
    total = sum(count)
    gaps = [abs(Fraction(c) - Fraction(u, UNIT)) for c, u in zip(correct, units, strict=True)]
    return {
        "bin_count": count,
        "bin_accuracy": [quotient(c, n) for c, n in zip(correct, count, strict=True)],
        "bin_confidence": [quotient(u, UNIT * n) for u, n in zip(units, count, strict=True)],
        "accuracy": Fraction(sum(correct), total),
        "mean_confidence": Fraction(sum(units), UNIT * total),
        "expected_calibration_error": sum(gaps) / total,
        "maximum_calibration_error": max(gap / n for gap, n in zip(gaps, count, strict=True) if n),
    }


def reliability_of(records: list[Any]) -> dict[str, Any]:
    """Sixteen of the 240 bins are one bin of the diagram."""
    count, correct, units = (
        [sum(fine[16 * k : 16 * k + 16]) for k in range(15)]
        for fine in (
            packed_sum(records, "confidence_count"),
            packed_sum(records, "confidence_correct"),
            packed_sum(records, "confidence_units"),
        )
    )
    return reliability(count, correct, units)


def class_error(records: list[Any], index: int) -> Fraction | None:
    bins = slice(15 * index, 15 * index + 15)
    count = packed_sum(records, "class_count")[bins]
    hits = packed_sum(records, "class_hits")[bins]
    units = packed_sum(records, "class_probability_units")[bins]
    if not sum(hits):
        return None
    gaps = [abs(Fraction(h) - Fraction(u, UNIT)) for h, u in zip(hits, units, strict=True)]
    return sum(gaps) / sum(count)


def best_temperature(nll: list[int]) -> float:
    place = nll.index(min(nll))
    if place in {0, 20}:
        return 2.0 ** (place / 4 - 2)
    before, least, after = nll[place - 1 : place + 2]
    bend = before - 2 * least + after
    return 2.0 ** ((place + (0.5 * (before - after) / bend if bend else 0)) / 4 - 2)


def by_confidence(records: list[Any]) -> list[tuple[int, int]]:
    """Return pixels and errors per bin, most confident first."""
    count = packed_sum(records, "confidence_count")
    correct = packed_sum(records, "confidence_correct")
    return [(n, n - c) for n, c in zip(count, correct, strict=True)][::-1]


def risk_at(bins: list[tuple[int, int]], coverage: float) -> float:
    wanted = coverage * sum(n for n, _ in bins)
    left, errors = wanted, 0.0
    for pixels, wrong in bins:
        taken = min(pixels, left)
        errors += wrong * taken / pixels if pixels else 0
        left -= taken
    return errors / wanted


def area(bins: list[tuple[int, int]]) -> float:
    """Integrate risk over coverage: (e + r t) / (n + t) for t from 0 to m, bin by bin."""
    pixels = errors = 0
    total = 0.0
    for more, wrong in bins:
        if more:
            rate = wrong / more
            total += rate * more
            if pixels:
                total += (errors - rate * pixels) * math.log((pixels + more) / pixels)
            pixels, errors = pixels + more, errors + wrong
    return total / pixels


def risk_coverage_of(records: list[Any]) -> dict[str, Any]:
    bins = by_confidence(records)
    total, wrong = sum(n for n, _ in bins), sum(e for _, e in bins)
    coverage, risk, accepted, errors = [], [], 0, 0
    for pixels, mistakes in bins:
        accepted, errors = accepted + pixels, errors + mistakes
        coverage.insert(0, Fraction(accepted, total))
        risk.insert(0, quotient(errors, accepted))
    chance, found = wrong / total, area(bins)
    least = area([(total - wrong, 0), (wrong, wrong)])
    return {
        "threshold": [k / 240 for k in range(240)],
        "coverage": coverage,
        "risk": risk,
        "area": found,
        "oracle_area": least,
        "random_area": chance,
        "excess_area": found - least,
        "ordering_score": (chance - found) / (chance - least),
        "risk_at_coverage": {
            text: risk_at(bins, float(text)) for text in ("0.8", "0.9", "0.95", "1")
        },
    }
