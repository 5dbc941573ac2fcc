# SPDX-License-Identifier: Apache-2.0
"""The command line: what it writes, what it says, and one line with status 2 for bad input."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from signals import signalled_at_import

from camseg_core import segment_files
from camseg_core.cli import main
from camseg_core.commands import benchmark
from camseg_core.errors import FAILED_CHECK
from camseg_core.images.reading import read_image
from camseg_core.segmenter import Segmenter
from camseg_core.weights import download
from camseg_core.weights.loading import load_model, random_model, save_model
from camseg_core.weights.unpickling import load_without_code

Writer = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
KINDS = ("ids", "color", "overlay", "confidence")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, parity: Path, write_image: Writer) -> Path:
    """A folder of good and bad inputs, by name."""
    folder = tmp_path_factory.mktemp("inputs")
    write_image(folder / "good.png", 33, 97)
    (folder / "text.png").write_text("hello\n")
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    path = folder / "truncated.png"
    assert cv2.imwrite(str(path), noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.95 * len(content))])

    def pair(name: str) -> Path:
        (folder / name).mkdir()
        for file in ("transformer.pth", "vae.ckpt", "config.json"):
            shutil.copyfile(parity / file, folder / name / file)
        return folder / name

    cut = pair("cut_transformer") / "transformer.pth"
    cut.write_bytes(cut.read_bytes()[:100_000])
    marker = folder / "marker"

    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {marker}",)

    torch.save({"model": {"a": Evil()}}, pair("evil") / "transformer.pth")
    torch.save({"model": {"conv1.weight": torch.ones(3)}}, pair("other") / "transformer.pth")
    save_file({"weight": torch.ones(2)}, folder / "other.safetensors")
    save_model(load_model(parity), folder / "good.safetensors")
    content = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    for name in ("nothing", "bag", "killed"):
        (folder / name).mkdir()
    (folder / "bag" / "metadata.yaml").write_text("rosbag2_bagfile_information:\n  version: 8\n")
    for name in ("killed/killed_0.mcap", "drive.bag"):
        (folder / name).touch()
    return folder


BAD_INPUTS = {
    "none.png": r"no such file or folder: \S+none\.png",
    "text.png": r"\S+text\.png is neither an image nor a video: its 6 bytes .*",
    "truncated.png": r"\S+truncated\.png is neither an image nor a video: .*",
    "drive.bag": r"\S+drive\.bag is a bag; bags are segmented .* by: camseg replay \S+/drive\.bag",
    "bag": r"\S+bag is a bag; bags are segmented and scored by: camseg replay \S+/bag",
    "killed": r"\S+killed is a bag; .*",
    "nothing": r"folder \S+nothing has no image; .*",
    "good.png --weights @none": r"no such weights: \S+none; .*",
    "good.png --weights @nothing": r"folder \S+nothing holds no weights that can be chosen: .*",
    "good.png --weights @cut_transformer": r"\S+transformer\.pth cannot be read as a torch chec.*",
    "good.png --weights @evil": r"\S+transformer\.pth names posix\.system, which a checkpoint.*",
    "good.png --weights @other": r"\S+transformer\.pth is of another model: it has no transform.*",
    "good.png --weights @other.safetensors": r"\S+other\.safetensors is a safetensors file of a.*",
    "good.png --weights @cut.safetensors": r"\S+cut\.safetensors cannot be read as safetensors: .*",
    "good.png --weights @good.png": r"\S+good\.png cannot be read as safetensors: .*",
    "good.png --steps 0": "steps is 0; a whole number from 1 to 1000 is needed",
    "good.png --sampler euler": r"unknown sampler 'euler'; the samplers are ddpm, ddim, dpm-sol.*",
    "good.png --device tpu": "unknown device 'tpu'; cpu, cuda or cuda:N is possible",
    "good.png --rounds 17 --steps 1": r"\S+good\.png: rounds is 17; from 1 to 16, the number of .*",
    "good.png --temperature nan": "temperature is nan; a finite .*",
    "good.png --heads 5": r"transformer width 48 is not a multiple of its 5 heads; .*\(--heads\)",
    "good.png --steps 1 --out @text.png": r"cannot write \S+classes\.json: (Not a dir|File exi).*",
}
"""Words of the command line, completed by `segment_arguments`, and the message that they cause."""


def segment_arguments(inputs: Path, parity: Path, out: Path, words: str) -> list[str]:
    """Complete a case: its input, and weights and output folder where it names none; @ = inputs."""
    given = [str(inputs / word[1:]) if word.startswith("@") else word for word in words.split(" ")]
    weights = [] if "--weights" in given else ["--weights", str(parity)]
    to = [] if "--out" in given else ["--out", str(out)]
    return ["segment", str(inputs / given[0]), *given[1:], *weights, *to]


def assert_one_line(status: int, out: str, error: str, message: str) -> None:
    assert status == 2
    assert out == ""
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert re.fullmatch(f"camseg: {message}", lines[0]), error


@pytest.mark.parametrize("words", BAD_INPUTS)
def test_bad_input_is_one_line_and_status_2(
    words: str, inputs: Path, parity: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = main(segment_arguments(inputs, parity, tmp_path / "out", words))
    assert_one_line(status, *capfd.readouterr(), BAD_INPUTS[words])
    assert not (tmp_path / "out").exists()
    assert not (inputs / "marker").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("good.png --weights @evil", BAD_INPUTS["good.png --weights @evil"]),
        # The process sees no CUDA device, whatever this machine has.
        ("good.png --device cuda", "device 'cuda' was asked for, but torch sees 0 CUDA devices .*"),
    ],
)
def test_the_process_says_no_more_than_one_line(
    words: str, message: str, inputs: Path, parity: Path, tmp_path: Path, run_camseg: Run
) -> None:
    done = run_camseg(*segment_arguments(inputs, parity, tmp_path / "out", words))
    assert_one_line(done.returncode, done.stdout, done.stderr, message)
    assert not (inputs / "marker").exists()


@pytest.mark.parametrize(
    "words", ["none.png", "truncated.png", "good.png --steps 0", "good.png --device tpu"]
)
def test_what_is_quickly_seen_is_said_before_weights_are_loaded(
    words: str, inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = segment_arguments(inputs, Path("no such weights"), tmp_path / "out", words)
    assert_one_line(main(arguments), *capfd.readouterr(), BAD_INPUTS[words])


@pytest.mark.parametrize(
    "words",
    [
        "",
        "unknown",
        "segment a.png --weights w",
        "segment a.png --weights w --out o --steps ten",
        "segment a.png --weights w --out o --step-count 10",
        "convert a b",
    ],
)
def test_bad_usage_is_status_2(words: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert error.startswith("usage: camseg")


HELP = (
    [],
    *(["segment"], ["evaluate"], ["data"], ["data", "check"], ["synth"], ["report"]),
    *(["verify"], ["convert"], ["inspect"], ["fetch-weights"]),
)


def test_help_imports_no_torch() -> None:
    code = (
        "import sys, camseg_core.cli as cli\n"
        "cli.PLUGINS = 'camseg.none'\n"
        f"for words in {HELP!r}:\n"
        "    try: cli.main([*words, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "    assert 'torch' not in sys.modules, words"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--weights", "--steps", "--sampler", "--seed", "--out", "--rounds", "--device"):
        assert option in done.stdout
    for choices in ("ddpm, ddim or dpm-solver++", "accurate, balanced or fast"):
        assert choices in " ".join(done.stdout.split())


def test_subjects_of_benchmark_come_from_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_subject(subjects: Any) -> None:
        subjects.add_parser("node").set_defaults(command=lambda _: 7)

    points = {benchmark.PLUGINS: [SimpleNamespace(load=lambda: add_subject)]}
    monkeypatch.setattr(benchmark, "entry_points", lambda group: points.get(group, []))
    assert main(["benchmark", "node"]) == 7


# segment


def test_segment_writes_what_the_segmenter_gives(
    tmp_path: Path,
    parity: Path,
    parity_segmenter: Segmenter,
    write_image: Writer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    size = (33, 97)
    path = write_image(tmp_path / "frame.png", *size)
    out = tmp_path / "new" / "out"
    arguments = ["segment", str(path), "--weights", str(parity), "--out", str(out)]
    options = {"steps": 3, "sampler": "dpm-solver++", "temperature": 0.5, "seed": 7, "rounds": 2}
    assert main([*arguments, *(f"--{key}={value}" for key, value in options.items())]) == 0
    text = capfd.readouterr().out
    assert re.search(r"^all +\d+\.\d$", text, re.MULTILINE)
    assert re.search(r"^frames: 1, peak memory: ", text, re.MULTILINE)
    wanted_options = replace(parity_segmenter.loaded.profiles["balanced"], **options)
    expected = parity_segmenter.segment(read_image(path), wanted_options)
    assert text.splitlines()[-1] == f"wrote 6 files to {out}"
    results = {"classes.json", "legend.png", *(f"frame_{kind}.png" for kind in KINDS)}
    assert {entry.name for entry in out.iterdir()} == results
    for kind, wanted in (("ids", expected.class_ids), ("confidence", expected.confidence)):
        stored = cv2.imread(str(out / f"frame_{kind}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, wanted)


def test_segment_says_when_weights_are_random(
    tmp_path: Path, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["segment", str(inputs / "good.png"), "--weights", "random:tiny", "--steps", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    error = capfd.readouterr().err
    assert "camseg: the weights are RANDOM, the masks mean nothing\n" in error


def test_segment_takes_the_weights_that_ship(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for given in ([], ["--weights", "demo"]):
        out = tmp_path / f"out{len(given)}"
        assert main(["segment", str(inputs / "good.png"), *given, "--out", str(out)]) == 0
        assert "RANDOM" not in capfd.readouterr().err
    names = sorted(path.name for path in (tmp_path / "out0").glob("*.png"))
    assert names
    for name in names:
        same = (tmp_path / "out0" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
        assert same, name


def test_segment_does_the_others_where_one_picture_is_bad(
    tmp_path: Path, parity: Path, write_image: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_image(folder / "a.png")
    write_image(folder / "sub" / "c.png")
    (folder / "b.png").write_bytes(b"bad")
    out = tmp_path / "out"
    arguments = ["segment", str(folder), "--weights", str(parity), "--steps", "1"]
    assert main([*arguments, "--out", str(out)]) == 2
    text, error = capfd.readouterr()
    assert "frames: 2, " in text
    said = [line for line in error.splitlines() if "camseg: " in line]
    assert said == [
        f"camseg: {folder / 'b.png'} is not an image: its 3 bytes cannot be decoded "
        "(truncated, or of another format than BMP, JPEG, PNG, PPM, TIFF, WEBP)"
    ]
    written = {path.relative_to(out).as_posix() for path in out.rglob("*_*.png")}
    assert written == {f"{stem}_{kind}.png" for stem in ("a", "sub/c") for kind in KINDS}


def test_segment_names_the_label_images_of_a_folder(
    tmp_path: Path, parity: Path, write_image: Writer, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("1_label.png", "2_label.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.eye(64, dtype=np.uint8))
    arguments = ["segment", str(tmp_path / "in"), "--weights", str(parity), "--steps", "1"]
    arguments += ["--out", str(tmp_path / "out")]
    said = (
        "with as few colours as label images have, not photos: "
        f"{tmp_path}/in/1_label.png, {tmp_path}/in/2_label.png\n"
    )
    assert main(arguments) == 2
    assert f"camseg: note: 2 of 2 images left out, {said}" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    write_image(tmp_path / "in" / "1.png")
    assert main(arguments) == 0
    assert f"camseg: note: 2 of 3 images left out, {said}" in capfd.readouterr().err


SegmentWith = Callable[[Callable[[], object]], int]


@pytest.fixture
def segment_with(
    inputs: Path, parity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SegmentWith:
    """Run ``camseg segment`` with something else in the place of its work; give the status."""

    def run(work: Callable[[], object]) -> int:
        monkeypatch.setattr(segment_files, "segment_files", lambda *_, **__: work())
        return main(segment_arguments(inputs, parity, tmp_path, "good.png"))

    return run


def test_an_interrupt_is_status_130(
    segment_with: SegmentWith, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert segment_with(interrupt) == 130
    assert capfd.readouterr() == ("", "camseg: interrupted\n")


@pytest.mark.parametrize(
    ("library", "number", "status", "told"),
    [
        ("numpy", signal.SIGINT, 130, "camseg: interrupted\n"),  # with the commands
        ("torch", signal.SIGINT, 130, "camseg: interrupted\n"),  # by the command itself
        ("pydantic", signal.SIGTERM, 143, ""),
        ("torch._C", signal.SIGTERM, 143, ""),
    ],
)
def test_a_signal_while_libraries_are_imported_is_no_traceback(
    inputs: Path, library: str, number: signal.Signals, status: int, told: str
) -> None:
    arguments = ["segment", str(inputs / "good.png"), "--weights", "random:tiny", "--out", "/none"]
    ended = signalled_at_import(library, number, "camseg_core.cli:main", *arguments)
    assert ended == (status, "", told)


def test_a_path_that_cannot_be_is_one_line(
    segment_with: SegmentWith, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert segment_with((tmp_path / ("a" * 300)).stat) == 2
    assert capfd.readouterr() == ("", f"camseg: {tmp_path}/{'a' * 300}: File name too long\n")


def test_other_errors_of_the_system_are_not_hidden(segment_with: SegmentWith) -> None:
    def fail() -> None:
        raise OSError("no memory for a thread")

    with pytest.raises(OSError, match="no memory for a thread"):
        segment_with(fail)


# verify


@pytest.fixture
def small_folder(parity: Path, tmp_path: Path) -> Path:
    """A parity folder with a few vectors, all good."""
    for name in ("transformer.pth", "vae.ckpt", "config.json"):
        shutil.copyfile(parity / name, tmp_path / name)
    vectors = load_file(parity / "vectors.safetensors")
    chosen = ("vae.latent_in", "vae.decoded", "schedule.10.betas")
    save_file({key: vectors[key] for key in chosen}, tmp_path / "vectors.safetensors")
    return tmp_path


def test_verify_prints_pass_or_fail(small_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_folder)]) == 0
    out, error = capfd.readouterr()
    assert error == ""
    assert out.splitlines()[-1] == "PASS"
    vectors = load_file(small_folder / "vectors.safetensors")
    vectors["vae.decoded"] = vectors["vae.decoded"] + 1e-3
    (small_folder / "vectors.safetensors").unlink()  # it is still mapped into memory
    save_file(vectors, small_folder / "vectors.safetensors")
    assert main(["verify", str(small_folder)]) == 1
    out, error = capfd.readouterr()
    assert error == ""
    assert out.splitlines()[-1] == "FAIL"
    assert out.count("FAIL (vae.decoded)") == 1
    (small_folder / "config.json").unlink()
    status = main(["verify", str(small_folder)])
    assert_one_line(status, *capfd.readouterr(), r"cannot read \S+config\.json: .*")


# convert and inspect


def test_convert_makes_one_file_that_segments_the_same(
    inputs: Path, parity: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = [str(parity / "transformer.pth"), str(parity / "vae.ckpt")]
    path = tmp_path / "folder" / "model.safetensors"
    assert main(["convert", *pair, "--out", str(path)]) == 0
    assert capfd.readouterr() == (f"wrote {path}\n", "")
    one, two = load_model(parity), load_model(path)
    assert one.config == two.config
    assert one.provenance == two.provenance
    for weights, out in ((parity, "pair"), (path, "file")):
        arguments = ["segment", str(inputs / "good.png"), "--weights", str(weights), "--steps", "2"]
        assert main([*arguments, "--out", str(tmp_path / out)]) == 0
    for kind in KINDS:
        pair_result, file_result = (
            (tmp_path / out / f"good_{kind}.png").read_bytes() for out in ("pair", "file")
        )
        assert pair_result == file_result


def test_convert_takes_heads_averages_and_temperature(
    parity: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("transformer.pth", "vae.ckpt"):  # without config.json
        shutil.copyfile(parity / name, tmp_path / name)
    pair = [str(tmp_path / "transformer.pth"), str(tmp_path / "vae.ckpt")]
    path = tmp_path / "model.safetensors"
    assert main(["convert", *pair, "--out", str(path)]) == 2
    assert "state it with --heads" in capfd.readouterr().err
    assert not path.exists()
    options = ["--heads", "6", "--ema", "--palette-temperature", "0.25"]
    assert main(["convert", *pair, "--out", str(path), *options]) == 0
    loaded = load_model(path)
    assert loaded.config.transformer.num_heads == 6
    assert loaded.config.palette_temperature == 0.25
    assert loaded.provenance["variant"] == "model_ema"
    averaged = load_without_code(parity / "transformer.pth")["model_ema"]["mask_token"]
    assert torch.equal(loaded.model.transformer.mask_token, averaged)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("none.pth vae.ckpt --out o.safetensors", r"cannot read \S*none\.pth: No such .*"),
        ("vae.ckpt transformer.pth --out o", r"\S*vae\.ckpt is no CAM-Seg transformer file: .*"),
        (
            "transformer.pth vae.ckpt --out o --palette-temperature nan",
            r"ModelConfig\.palette_temperature is nan; a number above 0 is needed",
        ),
        ("transformer.pth vae.ckpt --out .", r"cannot write \.: .*"),
        ("transformer.pth vae.ckpt --out vae.ckpt/o", r"cannot write vae\.ckpt/o: .*"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    words: str,
    message: str,
    parity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    names = {"transformer.pth", "vae.ckpt", "config.json"}
    for name in names:
        shutil.copyfile(parity / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert_one_line(main(["convert", *words.split()]), *capfd.readouterr(), message)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_inspect_tells_what_each_file_is(
    parity: Path, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for source, expected in (
        (parity / "transformer.pth", "a published CAM-Seg transformer with its denoiser"),
        (parity / "vae.ckpt", "a published CAM-Seg autoencoder"),
        (inputs / "good.safetensors", "a camseg model, format version 1"),
        (parity, "a whole model"),
        ("base-768", "base-768: a preset"),
    ):
        assert main(["inspect", str(source)]) == 0
        out, error = capfd.readouterr()
        assert expected in out
        assert error == ""
    assert main(["inspect", str(parity), "--keys"]) == 0
    assert "transformer\tdiffloss.net.cond_embed.weight\t64x48\n" in capfd.readouterr().out


@pytest.mark.parametrize("keys", [[], ["--keys"]])
@pytest.mark.parametrize("name", ["none", "other.safetensors", "text.png"])
def test_what_cannot_be_inspected_is_one_line(
    name: str, keys: list[str], inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = inputs / name
    assert main(["inspect", str(path), *keys]) == 2
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.startswith("camseg: ")
    assert str(path) in error


def test_a_reader_that_leaves_is_no_error(parity: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "camseg_core.cli", "inspect", str(parity), "--keys"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_fetched_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        download, "fetch_published_weights", lambda out: [out / "a.pth", out / "b.ckpt"]
    )
    assert main(["fetch-weights", "--out", str(tmp_path)]) == 0
    assert capfd.readouterr() == (f"{tmp_path}/a.pth\n{tmp_path}/b.ckpt\n", "")


def test_results_do_not_go_into_the_folder_they_come_from(
    tmp_path: Path, write_image: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "in" / "a.png", 8, 8)
    arguments = ["segment", str(tmp_path / "in"), "--weights", "random:tiny", "--out"]
    assert main([*arguments, str(tmp_path / "in" / "out")]) == 2
    assert "lies inside the input folder" in capsys.readouterr().err
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["a.png"]


def test_weights_that_give_no_number_end_in_one_line_and_status_1(
    tmp_path: Path, write_image: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = random_model("tiny")
    next(broken.model.denoiser.parameters()).data.fill_(torch.nan)
    save_model(broken, tmp_path / "broken.safetensors")
    image = write_image(tmp_path / "in" / "a.png", 32, 64)
    weights, out = str(tmp_path / "broken.safetensors"), tmp_path / "out"
    assert main(["segment", str(image), "--weights", weights, "--out", str(out)]) == FAILED_CHECK
    *_, line = capsys.readouterr().err.splitlines()
    assert line == (
        "camseg: 1 of 1 images: the networks gave no number for some pixels, which are unlabeled"
    )
    ids, confidence = (read_image(out / f"a_{kind}.png") for kind in ("ids", "confidence"))
    assert (ids == 255).all()
    assert (confidence == 0).all()
