# SPDX-License-Identifier: Apache-2.0
"""The page: its numbers are those of figures.json, names are escaped, nothing is fetched."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camseg_core.cli import main
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import select_corruptions
from camseg_core.evaluation.latent_scores import (
    LATENT_FILE,
    LatentScores,
    write_latent_scores,
)
from camseg_core.evaluation.records import find_runs, record_files
from camseg_core.evaluation.report.report import write_report
from camseg_core.labels import CITYSCAPES, LabelSet

FOUR = LabelSet(
    "four",
    ("sky", "road", "car", "pole"),
    tuple((60 * index, 255 - 60 * index, 90) for index in range(4)),
)
CORRUPTIONS = select_corruptions("gaussian_noise:5,gaussian_noise:50,hue:-0.1")

Simulate = Callable[..., Path]
Draw = Callable[..., list[Any]]


class Page(HTMLParser):
    """What a page holds: tables as lists of rows of texts, and the attributes of all elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._cell = False
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.text += " "
        self.elements.append((tag, {key: value or "" for key, value in attributes}))
        if tag == "table":
            self.tables.append((self.elements[-1][1]["class"], []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in {"td", "th"}:
            self._cell = True
            self.tables[-1][1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.tables[-1][1][-1][-1] += data

    def rows(self, kind: str) -> list[list[str]]:
        """Return the body rows of the tables of a class, one after the other."""
        return [
            [cell.strip() for cell in row]
            for classes, rows in self.tables
            if kind in classes.split()
            for row in rows[1:]
        ]

    def images(self) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag == "img"]


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, simulate_run: Simulate, simulated_images: Draw
) -> Path:
    """Three runs: of two parts and two conditions, of the published protocol, and a random one."""
    out = tmp_path_factory.mktemp("runs")
    images = [
        *simulated_images(6, 4, ("fog", "night"), "adverse"),
        *simulated_images(3, 4, ("clear",), "reference"),
    ]
    simulate_run(out, images, FOUR, dataset="acdc", corruptions=CORRUPTIONS)
    plain = simulated_images(5, 3)
    simulate_run(out, plain, FOUR, protocol="published", steps=(100,))
    simulate_run(out, plain, FOUR, is_random=True, steps=(1,), weights="random:demo")
    return out


@pytest.fixture(scope="module")
def page(runs: Path) -> Page:
    return Page(write_report(runs, runs / "report.html"))


@pytest.fixture(scope="module")
def figures(runs: Path, page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((runs / "figures.json").read_text())["runs"]
    assert [run["protocol"] for run in found] == ["official", "official", "published"]
    return found


@pytest.fixture
def lone(tmp_path: Path, simulate_run: Simulate, simulated_images: Draw) -> Path:
    """The folder of a run of one image, one number of steps, no corruption."""
    return simulate_run(tmp_path / "out", simulated_images(1, 3), FOUR, steps=(2,))


def shown(value: float | None, decimals: int = 2) -> str:
    return "–" if value is None else f"{100 * value:.{decimals}f}"


def metric_cells(row: dict[str, Any]) -> list[str]:
    nll = row["metrics"]["negative_log_likelihood"]
    shares = {name: shown(value) for name, value in row["metrics"].items()}
    other = {"negative_log_likelihood": "–" if nll is None else f"{nll:.3f}"}
    return [str(row["images"]), *(shares | other).values()]


def score_cells(row: dict[str, Any]) -> list[str]:
    temperature = row["temperature"]
    return [
        *metric_cells(row),
        *([shown(row["relative_to_clean"], 1)] if row["corruption"] != "none" else []),
        shown(row["scaled_calibration_error"]),
        "–" if temperature is None else f"{temperature:.2f}",
        f"{row['milliseconds_per_image']:.1f}",
    ]


def test_the_headline_tables_hold_the_figures_one_protocol_each(
    page: Page, figures: list[dict[str, Any]]
) -> None:
    assert [kind for kind, _ in page.tables if "headline" in kind] == [
        "headline official",
        "headline published",
    ]
    for protocol in ("official", "published"):
        expected = [
            [row["part"] or "–", str(row["steps"]), row["condition"] or "all",
             *score_cells(row)]
            for run in figures if run["protocol"] == protocol for row in run["rows"]
        ]  # fmt: skip
        rows = [row for row in page.rows(protocol) if len(row) > 1]
        assert rows == expected
        assert all(len(row) == len(head) for row in rows for head in [table_head(page, protocol)])
    assert "mIoU" not in " ".join(table_head(page, "published"))
    assert "precision" not in " ".join(table_head(page, "official"))


def table_head(page: Page, kind: str) -> list[str]:
    return next(rows[0] for classes, rows in page.tables if kind in classes.split())


def test_the_other_tables_hold_the_figures(page: Page, figures: list[dict[str, Any]]) -> None:
    parts = [(run, part) for run in figures for part in run["parts"]]
    assert page.rows("classes") == [
        [
            entry["name"],
            shown(entry["share_of_pixels"]),
            *([shown(entry["iou"])] if run["protocol"] == "official" else []),
            shown(entry["precision"]),
            *([shown(entry["recall"])] if run["protocol"] == "official" else []),
            shown(entry["calibration_error"]),
            *map(shown, entry["score_by_condition"].values()),
        ]
        for run, part in parts
        for entry in part["classes"]
    ]
    assert page.rows("confusions") == [
        [entry["truth"], entry["prediction"], str(entry["pixels"]), shown(entry["share"])]
        for _, part in parts
        for entry in part["largest_confusions"]
    ]
    assert page.rows("matrix") == [
        [entry["name"], *("·" if share == 0 else shown(share, 1) for share in shares)]
        for _, part in parts
        for entry, shares in zip(part["classes"], part["confusion_shares"], strict=True)
    ]
    first = figures[0]
    assert page.rows("corruptions") == [
        [row["corruption"].replace("_", " "), f"{row['level']:g}", *score_cells(row)]
        for part in ("adverse", "reference")
        for steps in (4, 1)
        for row in first["corrupted_rows"]
        if (row["part"], row["steps"]) == (part, steps)
    ]


def test_captions_hold_the_figures(page: Page, figures: list[dict[str, Any]]) -> None:
    text = " ".join(page.text.split())
    for run in figures:
        for part in run["parts"]:
            error = part["reliability"]["expected_calibration_error"]
            scaled = part["scaled"]["reliability"]["expected_calibration_error"]
            assert f"Calibration error {shown(error)} %, after temperature scaling" in text
            assert f"scaling {shown(scaled)} % on the other half." in text
            assert f"Area {shown(part['risk_coverage']['area'])} %; by chance" in text
            for curve in part["curves"]:
                relative = shown(curve["mean_relative"], 1)
                levels = {1: "1 level", 2: "2 levels"}[len(curve["rows"])]
                assert f"Mean over {levels}: {relative} % of clean" in text
        for frame in (*run["worst"], *run["best"]):
            assert f"{shown(frame['score'], 1)} % {frame['sample']}" in text


def test_the_header_names_what_was_done(page: Page) -> None:
    text = " ".join(page.text.split())
    for wanted in (
        "Weights weights.safetensors 0123456789ab Model demo",
        "Data acdc, split val, 9 images, 4 classes of four Protocol official",
        "rounds 1, sampler ddpm, seed 0, temperature 1.0; steps 1, 4",
        "Machine a processor, 2 cores, 24 GiB; cpu, 1 thread Libraries torch 2.13.0",
        "Evaluated 2026-01-01 00:00 UTC Folder acdc-val-official-",
        "RANDOM WEIGHTS Nothing was trained: these scores mean nothing.",
        "Weights random:demo Model",
        "At 4 diffusion steps, the largest of 1, 4.",
    ):
        assert wanted in text, wanted
    banners = [a["class"] for _, a in page.elements if a.get("class") == "banner"]
    assert len(banners) == 2  # in the random run's card and above its details


def test_the_headline_is_the_default_sampling_of_the_weights(
    tmp_path: Path, simulate_run: Simulate, simulated_images: Draw
) -> None:
    images = simulated_images(4, 3, ("fog",))
    default = asdict(SamplingOptions(steps=4, sampler="ddim"))
    for name, sampler, steps in (("a", "ddpm", (1, 64)), ("b", "ddim", (1, 4, 16))):
        simulate_run(
            tmp_path, images, FOUR, dataset="synthetic", steps=steps, weights=name,
            sampling={"sampler": sampler}, default_sampling=default,
        )  # fmt: skip
    page = Page(write_report(tmp_path, tmp_path / "report.html"))
    text = " ".join(page.text.split())
    first, second = text.index("1. synthetic val, fog"), text.index("2. synthetic val, fog")
    head = text[first:second]
    assert "images 4 steps 4 default Weights b" in head
    assert "steps 64 Weights a" in text[second:]
    assert "These are not the scores of the weights' default sampling" not in head
    assert "These are not the scores of the weights' default sampling" in text[second:]
    assert "At 4 diffusion steps, the weights' default sampling." in text
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [run["default_steps"] for run in figures["runs"]] == [4, None]
    (table,) = figures["sampling"]
    chosen = table["choices"][table["default"]]
    assert (chosen["weights"], chosen["row"]["steps"]) == ("b", 4)
    assert "Ways to sample: synthetic val, fog, official protocol The weights' default:" in text


def test_the_page_needs_nothing_from_elsewhere(page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|@import", page.source)
    tags = Counter(tag for tag, _ in page.elements)
    assert not tags.keys() & {"script", "iframe", "object", "embed", "base", "form", "video"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href", "xlink:href", "data", "srcset"):
            assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    policy = [a["content"] for _, a in page.elements if "Policy" in a.get("http-equiv", "")]
    assert policy == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    ]


def test_ids_are_unique_and_what_they_are_used_for_exists(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 3
    used = {target[1:] for target in re.findall(r"url\(([^)]*)\)", page.source)}
    for _, attributes in page.elements:
        for key in ("href", "xlink:href"):
            if attributes.get(key, "").startswith("#"):
                used.add(attributes[key][1:])
    assert used
    assert used <= set(ids)


def test_pictures_have_sizes_and_words_for_those_who_do_not_see_them(page: Page) -> None:
    # Of 9 images 4 are worst and 4 best; of 5, 4 and 1.
    assert len(page.images()) == 4 * (8 + 5 + 5)
    for image in page.images():
        assert (image["width"], image["height"]) == ("64", "48")
        assert re.fullmatch(r"(image|truth|prediction|confidence) of \S+\.png", image["alt"])
    plots = [a for tag, a in page.elements if tag == "div" and a.get("role") == "img"]
    assert len(plots) == sum(tag == "svg" for tag, _ in page.elements) == 2 * 2 + 4 * 4 + 4
    assert all(len(plot["aria-label"]) > 10 for plot in plots)


def test_equal_records_give_equal_bytes(tmp_path: Path, runs: Path, page: Page) -> None:
    write_report(runs, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page.source
    assert (tmp_path / "figures.json").read_bytes() == (runs / "figures.json").read_bytes()


def test_a_page_of_19_classes_is_small_but_for_its_pictures(
    tmp_path: Path, simulate_run: Simulate, simulated_images: Draw
) -> None:
    simulate_run(tmp_path, simulated_images(2, 19), CITYSCAPES, corruptions=CORRUPTIONS)
    content = write_report(tmp_path, tmp_path / "report.html").read_text()
    assert len(re.sub(r"data:image/[^\"]*", "", content)) < 300_000


EVIL = "<script>alert('x')</script>&amp;\"'"


def test_names_are_escaped(tmp_path: Path, simulate_run: Simulate, simulated_images: Draw) -> None:
    names = (EVIL, "$x^$", "\x00\x1b[31m", "fahrradfahrerinnen und " * 9, "道路")
    label_set = LabelSet("odd & <b>", names, tuple((index, 1, 2) for index in range(5)))
    images = [
        replace(image, name=f"{index}{EVIL}", sequence=EVIL, condition=EVIL, part=EVIL)
        for index, image in enumerate(simulated_images(3, 5))
    ]
    simulate_run(tmp_path, images, label_set, weights=EVIL, dataset="<b>bold")
    page = Page(write_report(tmp_path, tmp_path / "report.html"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "b"}
    assert page.text.count(EVIL) > 10
    assert f"image of 0{EVIL}" in [image["alt"] for image in page.images()]
    assert "$x^$" in page.text
    assert json.loads((tmp_path / "figures.json").read_text())["runs"][0]["weights"] == [EVIL]


def test_ways_to_sample_are_compared(
    tmp_path: Path, simulate_run: Simulate, simulated_images: Draw
) -> None:
    images = simulated_images(3, 4)
    for sampler in ("ddpm", "ddim"):
        simulate_run(tmp_path, images, FOUR, sampling={"sampler": sampler, "seed": 0})
    page = Page(write_report(tmp_path, tmp_path / "report.html", 30.0))
    (table,) = json.loads((tmp_path / "figures.json").read_text())["sampling"]
    choices = table["choices"]
    assert {(choice["settings"], choice["row"]["steps"]) for choice in choices} == {
        (f"sampler {sampler}", steps) for sampler in ("ddim", "ddpm") for steps in (1, 4)
    }
    assert page.rows("sampling") == [
        [
            choice["weights"],
            choice["settings"],
            str(choice["row"]["steps"]),
            *metric_cells(choice["row"]),
            f"{choice['row']['median_milliseconds_per_image']:.1f}",
        ]
        for choice in choices
    ]
    # One step takes 25 ms and four take 40.
    best = choices[table["best"]]
    assert best["row"]["steps"] == 1
    assert f"Best within 30 ms an image: weights.safetensors, {best['settings']}, 1 step" in (
        " ".join(page.text.split())
    )
    text = Page(write_report(tmp_path, tmp_path / "report.html", 1.0)).text
    assert "No choice with all images takes 1 ms or less." in text


def test_a_lone_image_says_what_is_left_out(lone: Path) -> None:
    page = Page(write_report(lone, lone / "report.html"))
    text = " ".join(page.text.split())
    for note in (
        "Robustness is left out: no corruption was evaluated",
        "Some or all temperatures are left out",
        "Classes without a labeled pixel in the ground truth: pole.",
    ):
        assert note in text, note
    (row,) = page.rows("headline")
    assert row[:4] == ["–", "2", "clear", "1"]
    assert row[-3:-1] == ["–", "–"]  # no temperature
    assert len(page.images()) == 4


def test_pictures_that_are_gone_or_damaged_are_said_to_be(lone: Path) -> None:
    picture = next(lone.rglob("*_truth.png"))
    picture.write_bytes(picture.read_bytes()[:40])
    page = Page(write_report(lone, lone / "report.html"))
    assert len(page.images()) == 3
    assert page.text.count("no picture") == 1
    assert "1 picture of frames are left out: removed, or not readable." in page.text
    shutil.rmtree(lone / "frames")
    page = Page(write_report(lone, lone / "report.html"))
    assert not page.images()
    assert "4 pictures of frames are left out" in page.text


def test_nothing_labeled_is_a_page_of_dashes(
    tmp_path: Path, simulate_run: Simulate, simulated_images: Draw
) -> None:
    for protocol in ("official", "published"):
        images = [
            replace(image, truth=np.full_like(image.truth, 255)) for image in simulated_images(2, 4)
        ]
        simulate_run(tmp_path, images, FOUR, protocol=protocol, corruptions=CORRUPTIONS)
    page = Page(write_report(tmp_path, tmp_path / "report.html"))
    assert set(page.rows("official")[1][4:-1]) == {"–"}
    assert "nan" not in page.text.lower()
    assert "Worst and best frames are left out: no image has a labeled pixel." in page.text
    assert "Largest confusions: none" in page.text


def test_pictures_show_what_was_kept(lone: Path) -> None:
    page = Page(write_report(lone, lone / "report.html"))
    for image in page.images():
        kind = image["alt"].split(" ")[0]
        encoded = image["src"].partition("base64,")[2]
        found = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), 1)
        kept = cv2.imread(str(next(lone.rglob(f"*_{kind}.*"))))
        if kind in {"truth", "prediction"}:
            np.testing.assert_array_equal(found, kept)
        else:
            assert np.abs(found.astype(int) - kept).mean() < 10


def test_unfinished_runs_say_so(tmp_path: Path, runs: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(runs, out)
    shutil.rmtree(next(out.glob("drawn-val-published-*")))
    folder = next(out.glob("acdc-*"))
    (records,) = record_files(folder)
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:6]) + lines[6][:30])  # the last line is half
    record_files(next(out.glob("drawn-val-official-*")))[0].write_bytes(b"")
    page = Page(write_report(out, out / "report.html"))
    text = " ".join(page.text.split())
    assert "Without a scored image, and left out: drawn-val-official-" in text
    assert page.rows("headline")[0][:4] == ["adverse", "1", "fog", "1"]
    # Image 1: clean with 1 and 4 steps, noise of 5 with both, noise of 50 with 1.
    assert len(page.rows("corruptions")) == 3
    records.write_bytes(b"".join(lines[:8] + lines[9:10]))
    text = " ".join(Page(write_report(out, out / "report.html")).text.split())
    assert "Unfinished: not all images are scored with 4 steps" in text
    assert "gaussian_noise, hue and the clean images do not cover the same images" in text


def test_a_run_without_ground_truth_is_left_out(tmp_path: Path, runs: Path, lone: Path) -> None:
    (records,) = record_files(lone)
    session, line = records.read_text().splitlines()
    blind = json.dumps(json.loads(line) | {"counts": None, "calibration": None})
    records.write_text("\n".join([session, blind, ""]))
    with pytest.raises(CamsegError, match="holds no scored image: .* have no ground truth"):
        write_report(lone, tmp_path / "report.html")
    shutil.copytree(next(runs.glob("acdc-*")), lone.parent / "acdc")
    text = " ".join(Page(write_report(lone.parent, tmp_path / "report.html")).text.split())
    assert f"and left out: {lone.name}" in text


def test_details_wait_for_the_largest_number_of_steps(tmp_path: Path, lone: Path) -> None:
    (records,) = record_files(lone)
    session, line = records.read_text().splitlines()
    other = json.loads(line) | {"part": "later", "steps": 9}
    records.write_text("\n".join([session, line, json.dumps(other), ""]))
    text = Page(write_report(lone, tmp_path / "report.html")).text
    assert "Unfinished: no clean image is scored with 9 steps yet" in text
    dark = json.loads(line) | {"corruption": "hue", "level": 0.1}
    records.write_text("\n".join([session, json.dumps(dark), ""]))
    text = Page(write_report(lone, tmp_path / "report.html")).text
    assert "Unfinished: no clean image is scored yet" in text


# Errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rubbish", "line 1: Invalid JSON"),
        ("", "holds no scored image: `camseg evaluate` was stopped too early, or the"),
    ],
)
def test_rubbish_is_one_line_and_status_2(
    lone: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    record_files(lone)[0].write_text(content and content + "\n")
    assert main(["report", str(lone.parent)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert not (lone.parent / "report.html").exists()


@given(data=st.data())
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_record_is_a_page_or_one_line(
    tmp_path: Path, simulate_run: Simulate, simulated_images: Draw, data: st.DataObject
) -> None:
    out = tmp_path / "damaged"
    if not out.exists():
        simulate_run(out, simulated_images(2, 2), FOUR, steps=(1,))
    (folder,) = find_runs(out)
    (records,) = record_files(folder)
    whole = records.read_text()
    number = data.draw(st.integers(0, 2))
    lines = whole.splitlines()
    line = json.loads(lines[number])
    name = data.draw(st.sampled_from(sorted(line)))
    line[name] = data.draw(
        st.sampled_from(
            [None, True, -1, 2.5, float("nan"), 10**400, "", "x", [], [0], {}, {"a": 1}]
        )
    )
    lines[number] = json.dumps(line)
    try:
        records.write_text("\n".join([*lines, ""]))
        write_report(out, tmp_path / "page.html")
    except CamsegError as error:
        assert "\n" not in str(error)
    finally:
        records.write_text(whole)


def test_the_page_is_a_file_of_its_own(lone: Path) -> None:
    for out in (lone, lone / "figures.json"):
        with pytest.raises(CamsegError, match=r"cannot write the page to .*: a file name such as"):
            write_report(lone, out)


def test_what_the_latent_carries_is_shown(lone: Path) -> None:
    scores = LatentScores("w.pt", "ab", "acdc", "val", 7, 0.94, 0.87, 0.7, 0.92, 0.7, 0.09)
    write_latent_scores(lone.parent / LATENT_FILE, scores)
    page = Page(write_report(lone.parent, lone.parent / "report.html"))
    row = ["w.pt", "acdc val", "7", "70.00", "92.00", "70.00", "9.00", "94.00", "0.87"]
    assert page.rows("latent") == [row]
    assert json.loads((lone.parent / "figures.json").read_text())["latent"] == [asdict(scores)]
    (lone.parent / LATENT_FILE).write_text("{}")
    with pytest.raises(CamsegError, match=r"latent\.json: weights"):
        write_report(lone.parent, lone.parent / "report.html")
