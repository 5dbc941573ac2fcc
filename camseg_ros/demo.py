# SPDX-License-Identifier: Apache-2.0
"""``make demo``: a clip through the node in another process over DDS, a contact sheet, a video.

The clip is real footage where its file is there, a drawn one otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from camseg_core.data.synthetic.drive import SyntheticDrive
from camseg_core.errors import BAD_INPUT, FAILED_CHECK, INTERRUPTED, CamsegError
from camseg_core.files import atomic_path
from camseg_core.inputs import Source, find_sources, read_frames
from camseg_core.pictures import write_png
from camseg_ros.dds_environment import use_free_domain, use_large_images
from camseg_ros.replay.live_frames import CameraReplay, latency_percentile_ms, replay_live

UInt8 = NDArray[np.uint8]

DRAWN_FRAMES = 120
DRAWN_SEED = 9200
"""Of no frame that the shipped weights were trained or scored on (benchmarks/train_demo.sh)."""
SHEET_FRAMES = 4
SHEET_TILE_WIDTH = 480


def drawn_frames(count: int, height: int = 540, width: int = 960) -> list[UInt8]:
    """Draw a drive that no shipped weights were trained on: RGB uint8 [height, width, 3]."""
    drive = SyntheticDrive(DRAWN_SEED, width, height, frames_per_sequence=DRAWN_FRAMES)
    return [
        drive.frame(index).image
        for index in tqdm(range(count), unit="frame", desc="draw", leave=False)
    ]


def contact_sheet(frames: Sequence[UInt8], result: CameraReplay) -> UInt8:
    """Put frames with their overlay and confidence below each other: RGB uint8."""
    shown = [
        (index, result.received[stamp].pictures)
        for index, stamp in enumerate(result.published)
        if stamp in result.received
        and {"overlay", "confidence"} <= result.received[stamp].pictures.keys()
    ]
    if not shown:
        raise CamsegError("no frame came back with overlay and confidence to show")
    chosen = [shown[place] for place in np.linspace(0, len(shown) - 1, SHEET_FRAMES).astype(int)]
    rows = []
    for index, pictures in chosen:
        gray = cv2.cvtColor(pictures["confidence"], cv2.COLOR_GRAY2RGB)
        rows.append(np.hstack([_tile(frames[index]), _tile(pictures["overlay"]), _tile(gray)]))
    return np.vstack(rows)


def stamp_random(picture: UInt8) -> UInt8:
    """Write across a picture that nothing was trained, so that nobody takes it for a result."""
    marked = picture.copy()
    scale = picture.shape[1] / 700
    for color, thickness in (((0, 0, 0), 6), ((255, 255, 0), 2)):
        cv2.putText(
            marked,
            "RANDOM WEIGHTS, NOT A RESULT",
            (int(20 * scale), int(40 * scale)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            color,
            max(1, round(thickness * scale)),
            cv2.LINE_AA,
        )
    return marked


def write_video(path: Path, pictures: Sequence[UInt8], rate_hz: float) -> None:
    """Write RGB pictures of one size uint8 [H, W, 3] as MPEG-4, whole or not at all.

    Raises:
        CamsegError: the file cannot be written.
    """
    height, width = pictures[0].shape[:2]
    with atomic_path(path) as temporary:
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(temporary), codec, rate_hz, (width, height))
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
        writer.release()


def summary_line(result: CameraReplay) -> str:
    """Give the counts and the latency in one line."""
    values, latencies_ms = result.values, result.latencies_ms()
    matched = len(set(result.masks) & set(result.published))
    lost_in = len(result.published) - int(values["frames_in"])
    lost_out = int(values["frames_out"]) - len(result.masks)
    return (
        f"frames in {values['frames_in']} "
        f"(played {len(result.published)}, lost or replaced in DDS {lost_in}), "
        f"frames out {values['frames_out']} (lost in DDS {lost_out}), "
        f"dropped {values['frames_dropped']}, "
        f"refused {values['frames_refused']}, stamps matched {matched}, "
        f"latency p50 {latency_percentile_ms(latencies_ms, 50):.0f} ms, "
        f"p95 {latency_percentile_ms(latencies_ms, 95):.0f} ms"
    )


def run_demo(
    *, clip: Path | None, weights: str, steps: int, rate_hz: float, out: Path, most_frames: int
) -> int:
    """Play, collect, write pictures, print the line; 1 if the node broke a promise.

    Raises:
        CamsegError: the clip cannot be read, the node does not start, or nothing can be written.
    """
    if not 0.0 < rate_hz < 1000.0:
        raise CamsegError(f"--rate is {rate_hz}; above 0 and below 1000 frames per second")
    if most_frames < 1:
        raise CamsegError(f"--frames is {most_frames}; at least 1 is needed")
    if clip is not None:
        frames = list(itertools.islice(_images(find_sources(clip)), most_frames))
        print(f"clip: {clip}, {len(frames)} frames at {rate_hz:g} Hz")
    else:
        frames = drawn_frames(min(DRAWN_FRAMES, most_frames))
        print(f"clip: drawn, {len(frames)} frames at {rate_hz:g} Hz")
    is_random = weights.startswith("random:")
    if is_random:
        print("the weights are RANDOM: the masks mean nothing")
    parameters = {"weights": weights, "steps": steps}
    with tqdm(total=len(frames), unit="frame", desc="play") as bar:
        result = replay_live(frames, rate_hz=rate_hz, parameters=parameters, progress=bar.update)
    camera = result.only
    mark = stamp_random if is_random else np.asarray
    overlays = [
        mark(item.pictures["overlay"])
        for _, item in sorted(camera.received.items())
        if "overlay" in item.pictures
    ]
    if overlays:
        seconds = max(len(frames) / rate_hz, 1e-9)
        write_png(out / "contact_sheet.png", mark(contact_sheet(frames, camera)))
        write_video(out / "overlay.mp4", overlays, max(1.0, len(overlays) / seconds))
        print(f"wrote {out / 'contact_sheet.png'} and {out / 'overlay.mp4'}")
    print(summary_line(camera))
    problems = result.problems()
    for problem in problems:
        print(f"camseg-demo: {problem}", file=sys.stderr)
    return FAILED_CHECK if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="camseg-demo", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--clip", type=Path, help="video or folder; a drawn one without it")
    parser.add_argument("--weights", default="demo", help="as camseg segment takes them")
    parser.add_argument("--steps", type=int, default=0, help="0: as in the profile")
    parser.add_argument("--rate", type=float, default=25.0, help="frames per second to play")
    parser.add_argument("--frames", type=int, default=10**9, help="play at most so many")
    parser.add_argument("--out", type=Path, default=Path("output/demo"), help="folder")
    parsed = parser.parse_args(arguments)
    use_free_domain()
    use_large_images()
    try:
        return run_demo(
            clip=parsed.clip,
            weights=parsed.weights,
            steps=parsed.steps,
            rate_hz=parsed.rate,
            out=parsed.out,
            most_frames=parsed.frames,
        )
    except CamsegError as error:
        print(f"camseg-demo: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("camseg-demo: interrupted", file=sys.stderr)
        return INTERRUPTED


def _images(sources: Sequence[Source]) -> Iterator[UInt8]:
    for source in sources:
        for frame in read_frames(source):
            yield frame.image


def _tile(picture: UInt8) -> UInt8:
    height = round(picture.shape[0] * SHEET_TILE_WIDTH / picture.shape[1])
    resized = cv2.resize(picture, (SHEET_TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


if __name__ == "__main__":
    sys.exit(main())
