# SPDX-License-Identifier: Apache-2.0
"""Programs that are killed at 30 random moments, damaged checkpoints, and a disk that is full.

After each kill what has its final name is whole, and the next run, which may be killed too, goes on
or starts clean; the last one's result is that of a run that was never killed. Kills, by program:

- training, 10: in each of the four stages at a moment, and while a checkpoint is saved or (the last
  stage) the weights are written; in the first two also at a later moment.
- ``camseg evaluate``, 4; ``camseg bag make``, 9; ``camseg replay`` offline, 4.
- ``camseg convert`` with a mask decoder to train, 3: one of them while the weights are written.

The moments are drawn, by `SEED`, from the time that an uninterrupted run took from the first file
that it wrote to the last: each from a share of its own. Kills just before certain steps on the disk
that have no such moments, because they take no time, have tests of their own.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from kills import (
    Moment,
    Program,
    Timeline,
    kill_at_moment,
    kill_at_step,
    kill_while,
    left_behind,
    measure,
    run,
)
from PIL import Image
from safetensors import safe_open

from camseg_core.cli import main
from camseg_core.images.video_writing import write_video
from camseg_core.training.train_state import list_checkpoints, load_state
from camseg_core.weights.loading import load_model, random_model, save_model
from camseg_ros.bag.reader import open_bag

pytestmark = pytest.mark.timeout(900)

SEED = 20
PARITY = Path(__file__).parents[1] / "data" / "parity"
STAGES = ("autoencoder", "transformer", "mask-decoder", "finetune")
STEPS, VALIDATE_EVERY = 8, 4
PARTS_OF_A_STAGE = 1 + STEPS + STEPS // VALIDATE_EVERY + 1
"""How far the training comes in a stage: its settings, the lines of its log, its weights."""

BAG = "synthetic_clear_9000"
CHECKPOINT = r"/checkpoints/\.[0-9a-f]{32}"
RENAME_OF_WEIGHTS = ("os.rename", r"^out/\.[0-9a-f]{32}\.safetensors$")


# The programs, and how far they have come


def files_below(out: Path, pattern: str) -> list[Path]:
    """Find files by name; unlike `Path.rglob` it lets folders vanish meanwhile."""
    return [
        Path(folder, name)
        for folder, _, names in os.walk(out)
        for name in fnmatch.filter(names, pattern)
    ]


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def new_files(out: Path, pattern: str, started: float) -> list[int]:
    """Return the sizes of the files that were written since a process was started."""
    sizes = []
    for path in files_below(out, pattern):
        with suppress(FileNotFoundError):  # it has its final name by now, or is gone
            status = path.stat()
            if status.st_mtime >= started - 0.01:  # the clock of files has ticks
                sizes.append(status.st_size)
    return sizes


def training_progress(out: Path, _: float) -> int:
    return sum(
        (out / stage / "config.yaml").exists()
        + lines_of(out / stage / "log.jsonl")
        + (out / f"{stage}.safetensors").exists()
        for stage in STAGES
    )


def evaluation_progress(out: Path, _: float) -> int:
    return sum(1 + lines_of(path) for path in files_below(out, "records-*.jsonl"))


def bag_progress(out: Path, started: float) -> int:
    sizes = new_files(out, "*.mcap", started)
    return sum(1 + size // 4096 for size in sizes) + (sizes != [] and (out / BAG).exists())


def conversion_progress(out: Path, started: float) -> int:
    if new_files(out, "model.safetensors", started):
        return 100  # more than the files of the training, which are gone by now
    return len(new_files(out, "*", started))


def replay_progress(out: Path, started: float) -> int:
    if not new_files(out, ".camseg_replay", started):
        return 0  # what is there is an earlier replay's
    return len(new_files(out, "*", started)) + evaluation_progress(out, started)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the programs read: a labelled drive, weights, a recipe."""
    home = tmp_path_factory.mktemp("home")
    drive = ["synth", "--out", str(home / "drive"), "--frames", "12", "--split", "train"]
    assert main([*drive, "--size", "64x32", "--seed", "1"]) == 0
    loaded = random_model("tiny")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as it is made, the denoiser gives zero, whatever the image
        for parameter in loaded.model.denoiser.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    save_model(loaded, home / "tiny.safetensors")
    data = {
        "root": str(home / "drive"), "validation_split": "train", "validation_images": 2,
        "workers": 1,
    }  # fmt: skip
    common = {
        "preset": "tiny", "steps": STEPS, "batch_size": 4, "log_every": 1, "save_every": 1,
        "validate_every": VALIDATE_EVERY, "threads": 1, "data": data,
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 0},
    }  # fmt: skip
    stages = [{"stage": stage} for stage in STAGES]
    (home / "recipe.yaml").write_text(yaml.safe_dump({"common": common, "stages": stages}))
    return home


@pytest.fixture(scope="module")
def programs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Program]:
    drive, tiny = f"{home / 'drive'}", f"{home / 'tiny.safetensors'}"
    return {
        "training": Program(
            "camseg_core.training",
            ("--recipe", f"{home / 'recipe.yaml'}", "--output-dir", "out"),
            training_progress,
            loses=2,  # a step whose two lines in the log are older than its checkpoint
        ),
        "evaluate": Program(
            "camseg_core.cli",
            (
                "evaluate", "--dataset", "cityscapes", "--split", "train", "--root", drive,
                "--weights", tiny, "--steps", "1,2", "--spread", "8", "--corruption", "hue:0.1",
                "--out", "out",
            ),
            evaluation_progress,
            loses=0,
        ),
        "bag make": Program(
            "camseg_core.cli",
            (
                "bag", "make", "--dataset", "synthetic", "--frames", "60", "--size", "96x64",
                "--out", "out",
            ),
            bag_progress,
        ),
        "convert": Program(
            "camseg_core.cli",
            (
                "convert", f"{PARITY / 'transformer.pth'}", f"{PARITY / 'vae.ckpt'}",
                "--mask-decoder", drive, "--mask-decoder-steps", "4",
                "--out", "out/model.safetensors",
            ),
            conversion_progress,
        ),
        "replay": Program(
            "camseg_core.cli",
            (
                "replay", f"{tmp_path_factory.getbasetemp() / 'whole' / 'bag make' / 'out' / BAG}",
                "--frames", "20", "--weights", tiny, "--write-bag", "--out", "out",
            ),
            replay_progress,
        ),
    }  # fmt: skip


def plain_conversion(programs: dict[str, Program]) -> Program:
    """Return ``camseg convert`` without a mask decoder to train."""
    program = programs["convert"]
    return replace(program, arguments=(*program.arguments[:3], *program.arguments[-2:]))


def single_stage(finished: Path) -> Program:
    """Return a training with the settings of a run, in a new run of its own."""
    options = ("--config", f"{finished / 'config.yaml'}", "--output-dir", "out")
    return Program("camseg_core.training", options, training_progress)


RESUME_LAST = Program(
    "camseg_core.training", ("--resume", "last", "--output-dir", "out"), training_progress
)

Whole = Callable[[str], tuple[Path, Timeline]]


@pytest.fixture(scope="module")
def whole(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Let a program run to its end, once; return the folder of its results, and its times."""

    @cache
    def run_once(name: str) -> tuple[Path, Timeline]:
        if name == "replay":
            run_once("bag make")  # what is replayed
        folder = tmp_path_factory.getbasetemp() / "whole" / name
        timeline = measure(programs[name], folder)
        assert left_behind(folder / "out") == []
        check_is_whole(folder / "out")
        return folder / "out", timeline

    return run_once


# What is there


def final_files(out: Path) -> dict[str, Path]:
    """Return all files that have their final names, but for TensorBoard's, which only grow."""
    paths = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: path for name, path in paths.items() if not re.search(r"(^|/)(\.|tensorboard/)", name)
    }


def check_is_whole(out: Path) -> None:
    """Read each file to its end, and what several files are together."""
    for path in final_files(out).values():
        match path.suffix:
            case ".json":
                assert json.loads(path.read_bytes())
            case ".yaml":
                assert yaml.safe_load(path.read_bytes())
            case ".jsonl":  # its last line may be one that the kill cut off
                for line in path.read_bytes().split(b"\n")[:-1]:
                    assert json.loads(line)
            case ".safetensors":
                with safe_open(path, framework="pt") as file:
                    assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118
            case ".png" | ".jpg":
                with Image.open(path) as picture:
                    picture.load()
            case ".html":
                assert path.read_text().rstrip().endswith("</html>")
            case _:
                assert path.suffix == ".mcap"
                messages_of(path.parent)
    for checkpoints in out.rglob("checkpoints"):
        for folder in checkpoints.glob("step-*"):
            assert load_state(folder).step == int(folder.name.removeprefix("step-"))


def messages_of(bag: Path) -> list[Any]:
    with open_bag(bag) as opened:
        messages = list(opened.messages(list(opened.topics)))
        assert opened.loss is None
    assert len(messages) > 0
    return messages


def content_of(path: Path) -> Any:
    """Return what has to be equal in two runs: of records all but the times and the processes."""
    content = path.read_bytes()
    if not path.name.startswith("records-"):
        return content
    records = [json.loads(line) for line in content.splitlines()]
    return [one | {"stage_seconds": None} for one in records if one["kind"] == "image"]


def assert_same_results(out: Path, expected: Path) -> None:
    files, expected_files = final_files(out), final_files(expected)
    assert list(files) == list(expected_files)
    for name, path in files.items():
        assert content_of(path) == content_of(expected_files[name]), name


def assert_same_training(run_folder: Path, expected: Path) -> None:
    """Compare runs of one stage whose settings name other folders, and their states with them."""
    pairs = zip(list_checkpoints(run_folder), list_checkpoints(expected), strict=True)
    for ours, theirs in ((load_state(one), load_state(other)) for one, other in pairs):
        assert ours.step == theirs.step
        assert set(ours.tensors) == set(theirs.tensors)
        assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)
    assert (run_folder / "log.jsonl").read_bytes() == (expected / "log.jsonl").read_bytes()


def kill_at_work(program: Program, folder: Path, moment: Moment) -> None:
    """Kill a program at a moment; where it was faster than when it was measured, again, earlier."""
    out, copy = folder / "out", folder / "before"
    shutil.rmtree(copy, ignore_errors=True)
    if out.exists():
        shutil.copytree(out, copy)
    for _ in range(4):
        if kill_at_moment(program, folder, moment):
            return
        shutil.rmtree(out)
        if copy.exists():
            shutil.copytree(copy, out)
        moment = Moment(moment.progress - 2, moment.delay_s / 4)
    pytest.fail(f"it ended before each of four moments, the last was {moment}")


def assert_ends_as_if_never_killed(program: Program, folder: Path, expected: Path) -> None:
    status, _, errors = run(program, folder)
    assert status == 0, errors
    check_is_whole(folder / "out")
    assert_same_results(folder / "out", expected)


# 1. Kills at random moments

Kill = Callable[[Program, Path], None]


def kills_of_training(timeline: Timeline, random: np.random.Generator) -> Iterator[Kill]:
    """Yield the kills of all stages, in the order of time."""

    def between(stage: int, least: float, most: float) -> Kill:
        first = 1 + stage * PARTS_OF_A_STAGE
        last = first + PARTS_OF_A_STAGE - 1
        moment = timeline.moment(random.uniform(least, most), first, last)
        return partial(kill_at_work, moment=moment)

    yield between(0, 0.0, 0.6)
    yield kill_while_it_saves
    yield between(0, 0.6, 0.95)
    yield between(1, 0.0, 0.6)
    yield partial(kill_at_step, steps=[("open", rf"{STAGES[1]}(/best)?{CHECKPOINT}/state\.json$")])
    yield between(1, 0.6, 0.95)
    saves = int(random.integers(1, 4))
    yield partial(kill_at_step, steps=[("os.rename", rf"{STAGES[2]}{CHECKPOINT}$")] * saves)
    yield between(2, 0.5, 0.95)
    yield between(3, 0.0, 0.95)
    yield partial(kill_at_step, steps=[RENAME_OF_WEIGHTS])


def kill_while_it_saves(program: Program, folder: Path) -> None:
    """Kill a training that is in the midst of writing a checkpoint of its first stage."""

    def is_saving(out: Path, started: float) -> bool:
        parts = files_below(out / STAGES[0] / "checkpoints", "part-*")
        folders = {part.parent for part in parts if part.parent.name.startswith(".")}
        return any(
            new_files(folder, "part-*", started) and not (folder / "state.json").exists()
            for folder in folders
        )

    kill_while(program, folder, is_saving)
    assert left_behind(folder / "out") != []


def kills_of(
    name: str, count: int, timeline: Timeline, random: np.random.Generator
) -> Iterator[Kill]:
    """Yield kills at random moments, each in its own share of the time."""
    at_moments = count - 1 if name == "convert" else count
    # Where each run begins anew, the order is random too.
    places = np.arange(at_moments) if name == "evaluate" else random.permutation(at_moments)
    for place in places:
        share = (place + random.uniform()) / at_moments
        moment = timeline.moment(share, min(timeline.times_s), max(timeline.times_s))
        yield partial(kill_at_work, moment=moment)
    if name == "convert":
        yield partial(kill_at_step, steps=[RENAME_OF_WEIGHTS])


def test_a_video_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    write_video(clip, [(picture, index * 10**8) for index in range(4)])
    arguments = ("segment", str(clip), "--weights", "random:tiny", "--out", "out")
    program = Program("camseg_core.cli", arguments, lambda out, started: 0)
    kill_at_step(program, tmp_path, [("os.rename", r"^out/\.[0-9a-f]{32}\.mp4$")])
    out = tmp_path / "out"
    assert not (out / "clip_overlay.mp4").exists()
    assert [path.suffix for path in left_behind(out)] == [".mp4"]
    status, printed, _ = run(program, tmp_path)
    assert (status, printed.splitlines()[-1]) == (0, "wrote 3 files to out")
    assert (out / "clip_overlay.mp4").exists()


@pytest.mark.parametrize(
    ("name", "count"),
    [("training", 10), ("evaluate", 4), ("bag make", 9), ("convert", 3), ("replay", 4)],
)
def test_what_is_killed_at_random_moments_goes_on_or_begins_again(
    name: str, count: int, programs: dict[str, Program], whole: Whole, tmp_path: Path
) -> None:
    program = programs[name]
    expected, timeline = whole(name)
    random = np.random.default_rng([SEED, *name.encode()])
    if name == "training":
        assert max(timeline.times_s) == len(STAGES) * PARTS_OF_A_STAGE
        kills = list(kills_of_training(timeline, random))
    else:
        kills = list(kills_of(name, count, timeline, random))
    assert len(kills) == count
    for kill in kills:
        kill(program, tmp_path)
        check_is_whole(tmp_path / "out")
        if (tmp_path / "out" / BAG).exists():  # killed when the bag had just been completed
            assert_same_results(tmp_path / "out", expected)
            shutil.rmtree(tmp_path / "out")
    assert_ends_as_if_never_killed(program, tmp_path, expected)
    lines, expected_lines = (tmp_path / "stdout").read_text().splitlines(), timeline.lines
    if name in ("training", "convert"):  # they print settings of a training, with other paths
        lines, expected_lines = lines[-1:], expected_lines[-1:]
    assert lines == expected_lines


# 2. A last checkpoint that is damaged


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(SEED).integers(0, len(content), 3):
        content[place] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def run_of_one_stage(whole: Whole, stage: str, folder: Path) -> tuple[Program, Path, Path]:
    """Copy the run of a stage; return the program that goes on with it, the run and the copy."""
    finished = whole("training")[0] / stage
    copy = shutil.copytree(finished, folder / "out" / stage)
    resume = Program("camseg_core.training", ("--resume", f"out/{stage}"), training_progress)
    return resume, finished, copy


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (cut, "part-000.safetensors"),
        (flip, "part-000.safetensors"),
        (empty, "state.json"),
    ],
)
def test_a_damaged_last_checkpoint_is_left_for_the_one_before(
    damage: Callable[[Path], None], file: str, whole: Whole, tmp_path: Path
) -> None:
    program, finished, copy = run_of_one_stage(whole, "transformer", tmp_path)
    earlier, last = list_checkpoints(copy)
    damage(last / file)
    status, _, errors = run(program, tmp_path)
    assert status == 0, errors
    (line,) = (line for line in errors.splitlines() if line.startswith("camseg: "))
    assert f"{last.relative_to(tmp_path)}/{file}" in line
    assert str(earlier.relative_to(tmp_path)) in line
    assert_same_results(copy, finished)


def test_damage_to_all_checkpoints_ends_the_run(whole: Whole, tmp_path: Path) -> None:
    program, _, copy = run_of_one_stage(whole, "transformer", tmp_path)
    checkpoints = list_checkpoints(copy)
    for folder in checkpoints:
        cut(folder / "part-000.safetensors")
    status, _, errors = run(program, tmp_path)
    assert status == 2
    assert errors.splitlines()[-1].startswith("camseg: ")
    for folder in checkpoints:
        assert str(folder.relative_to(tmp_path)) in errors


# 3. A disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a disk in memory of so many KiB; called again, change its size."""
    folder = tmp_path / "out"
    folder.mkdir()
    mounted = False

    def resize(kib: int) -> Path:
        nonlocal mounted
        if shutil.which("mount") is None:
            pytest.skip("no small disk can be mounted: there is no program mount")
        options = f"{'remount,' if mounted else ''}size={kib}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            assert not mounted, done.stderr
            pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
        mounted = True
        return folder

    yield resize
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_save_on_a_full_disk_leaves_the_earlier_checkpoints(
    whole: Whole, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    finished = whole("training")[0] / "autoencoder"
    checkpoint = list_checkpoints(finished)[-1]
    kib = sum(path.stat().st_size for path in checkpoint.iterdir()) // 1024
    out = small_disk(int(2.7 * kib))  # two checkpoints are kept, and a third is written beside
    status, _, errors = run(single_stage(finished), tmp_path)
    assert status == 2, errors
    (run_folder,) = (path.parent for path in out.glob("*/config.yaml"))
    one, two = list_checkpoints(run_folder)
    checkpoints = run_folder.relative_to(tmp_path) / "checkpoints"
    assert re.fullmatch(
        rf"camseg: cannot write checkpoint {checkpoints}/step-00000003: .*No space left on device.*"
        rf"; the last good one is {checkpoints}/step-00000002",
        errors.splitlines()[-1],  # after the progress
    )
    assert [load_state(folder).step for folder in (one, two)] == [1, 2]
    assert left_behind(out) == []
    check_is_whole(out)

    small_disk(8 * kib)
    status, _, errors = run(RESUME_LAST, tmp_path)
    assert status == 0, errors
    assert "camseg: " not in errors
    assert_same_training(run_folder, finished)


@pytest.mark.parametrize(
    ("name", "kib", "file"),
    [
        ("evaluate", 96, r"out/synthetic\S*"),
        ("bag make", 256, f"out/{BAG}"),
        ("convert", 1024, r"out/model\.safetensors"),
    ],
)
def test_a_full_disk_ends_a_program_with_one_line(
    name: str,
    kib: int,
    file: str,
    programs: dict[str, Program],
    whole: Whole,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
) -> None:
    program = plain_conversion(programs) if name == "convert" else programs[name]
    out = small_disk(kib)
    status, _, errors = run(program, tmp_path)
    assert status == 2, errors
    (line,) = (line for line in errors.splitlines() if "the weights are RANDOM" not in line)
    assert re.fullmatch(rf"camseg: cannot write {file}: .*No space left on device.*", line)
    check_is_whole(out)
    assert left_behind(out) == []
    if name != "convert":
        small_disk(64 * 1024)
        assert_ends_as_if_never_killed(program, tmp_path, whole(name)[0])


# 4. What a killed program left, and kills at certain steps on the disk


def test_an_unfinished_bag_is_removed_by_the_next_one(
    programs: dict[str, Program], whole: Whole, tmp_path: Path
) -> None:
    program, (expected, _) = programs["bag make"], whole("bag make")
    kill_at_step(program, tmp_path, [("os.rename", rf"/\.camseg-bag-\d+-\w+/{BAG}$")])
    out = tmp_path / "out"
    (left,) = out.iterdir()
    assert left in left_behind(out)
    assert bag_progress(out, 0.0) > 1
    # One that somebody is still writing is not touched: this process lives.
    living = out / f".camseg-bag-{os.getpid()}-0123"
    shutil.copytree(left, living)
    assert_ends_as_if_never_killed(program, tmp_path, expected)
    assert sorted(out.iterdir()) == [living, out / BAG]
    assert bag_progress(living, 0.0) > 1


def test_what_a_killed_save_left_is_removed_and_no_checkpoint_is_half_removed(
    whole: Whole, tmp_path: Path
) -> None:
    finished = whole("training")[0] / "autoencoder"
    kill_at_step(single_stage(finished), tmp_path, [("open", rf"{CHECKPOINT}/state\.json$")])
    (run_folder,) = (tmp_path / "out").iterdir()
    (left,) = left_behind(run_folder)
    assert left.parent == run_folder / "checkpoints"
    assert list_checkpoints(run_folder) == []
    # The oldest of three checkpoints is removed, one file after the other.
    removal = ("os.remove", r"^(part-000\.safetensors|state\.json)$")
    kill_at_step(RESUME_LAST, tmp_path, [removal, removal])
    check_is_whole(run_folder)
    assert run(RESUME_LAST, tmp_path)[0] == 0
    assert_same_training(run_folder, finished)
    assert left_behind(run_folder) == []


def test_weights_are_found_in_their_folder_after_a_killed_conversion(
    programs: dict[str, Program], tmp_path: Path
) -> None:
    program, out = plain_conversion(programs), tmp_path / "out"
    kill_at_step(program, tmp_path, [RENAME_OF_WEIGHTS])
    assert final_files(out) == {}
    assert len(left_behind(out)) == 1
    assert run(program, tmp_path)[0] == 0
    assert load_model(out).source == f"{out / 'model.safetensors'}"


def test_a_replay_replaces_what_a_killed_one_left_at_any_step(
    programs: dict[str, Program], whole: Whole, tmp_path: Path
) -> None:
    expected, _ = whole("replay")
    for steps in (
        [("open", r"^out/\.camseg_replay$")],  # the folder is made, and not yet marked
        [("os.rename", r"^out/synthetic[^/]*/\.[0-9a-f]{32}\.json$")],  # records without run.json
        [("os.rename", r"^out/\.[0-9a-f]{32}\.html$")],  # the page, the last file
        [("shutil.rmtree", r"^out/")],  # the first folder of the earlier replay
        [("os.remove", r"^run\.json$"), ("os.remove", "")],  # its records, half removed
    ):
        kill_at_step(programs["replay"], tmp_path, steps)
        check_is_whole(tmp_path / "out")
    assert_ends_as_if_never_killed(programs["replay"], tmp_path, expected)
    assert left_behind(tmp_path / "out") == []
