# SPDX-License-Identifier: Apache-2.0
"""Segmentation of files: images and videos in, result files and mean stage times out."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from camseg_core.errors import CamsegError, message_of
from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import legend_image, overlay_image, write_png
from camseg_core.images.reading import Frame, Source, looks_like_labels, read_frames
from camseg_core.images.video_writing import write_video
from camseg_core.segmenter import STAGES, SamplingOptions, Segmentation, Segmenter
from camseg_core.system.files import write_bytes
from camseg_core.system.progress import progress_bar


@dataclass
class Summary:
    """What `segment_files` did.

    Attributes:
        frames: Number of images that were segmented.
        files: Number of files that were written.
        stage_seconds: Seconds per stage, summed over the frames.
        failures: One line for each input that could not be read to its end.
        label_images: Pictures that look like labels; of several files they were left out.
        without_number: Number of images with pixels for which the networks gave no number.
    """

    frames: int = 0
    files: int = 0
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    failures: list[str] = field(default_factory=list)
    label_images: list[Path] = field(default_factory=list)
    without_number: int = 0

    def lines(self) -> Iterator[str]:
        """Return mean time per stage and the peak memory of the process."""
        if self.frames == 0:
            return
        yield f"{'stage':<14} {'ms per frame':>13}"
        for stage, seconds in self.stage_seconds.items():
            yield f"{stage:<14} {1000 * seconds / self.frames:>13.1f}"
        total = sum(self.stage_seconds.values())
        yield f"{'all':<14} {1000 * total / self.frames:>13.1f}"
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield f"frames: {self.frames}, peak memory: {peak_kib / 2**20:.2f} GiB"


def segment_files(
    segmenter: Segmenter,
    sources: Sequence[Source],
    out: Path,
    options: SamplingOptions,
    *,
    stills: bool = False,
) -> Summary:
    """Segment every frame of some files, and write the results below ``out``.

    Of an image, ``<stem>_ids.png`` is 8-bit, 255 = unlabeled; ``_confidence`` is 8-bit, 255 =
    certain; ``_color`` and ``_overlay`` are RGB. Of a video, ``<stem>_overlay.mp4`` has its own
    times, and ``stills`` asks for the four files of each frame besides. ``classes.json`` and
    ``legend.png`` in ``out`` tell what the ids and colours mean.

    One file among many that cannot be read or segmented does not stop the others; it is in the
    summary's failures. Of a video, what comes before the damage is written. Among several files
    those that look like labels (see `looks_like_labels`) are left out; one alone is segmented.

    Raises:
        CamsegError: a result cannot be written.
    """
    summary = Summary()
    label_set, several = segmenter.label_set, len(sources) > 1
    total = sum(source.frame_count for source in sources)

    def overlays(source: Source) -> Iterator[tuple[UInt8, int | None]]:
        """Segment the frames of one file, and yield their overlays with their times."""
        for frame, result in _segmented(segmenter, source, options, summary, several):
            if not summary.files:
                described = json.dumps(label_set.described(), indent=1)
                write_bytes(out / "classes.json", f"{described}\n".encode())
                write_png(out / "legend.png", legend_image(label_set))
                summary.files += 2
            overlay = overlay_image(frame.image, result.class_ids, label_set)
            if stills or not source.is_video:
                for kind, content in {
                    "ids": result.class_ids,
                    "color": label_set.color_image(result.class_ids),
                    "overlay": overlay,
                    "confidence": result.confidence,
                }.items():
                    write_png(out / frame.stem.with_name(f"{frame.stem.name}_{kind}.png"), content)
                    summary.files += 1
            summary.frames += 1
            summary.without_number += result.has_no_number
            for stage, seconds in result.stage_seconds.items():
                summary.stage_seconds[stage] += seconds
            bar.update()
            yield overlay, frame.time_ns

    with progress_bar(total or None, "frame", "segment") as bar:
        for source in sources:
            if source.is_video:
                path = out / source.stem.with_name(f"{source.stem.name}_overlay.mp4")
                frames = write_video(path, overlays(source))
                summary.files += frames > 0
            else:
                for _ in overlays(source):
                    pass
    return summary


def _segmented(
    segmenter: Segmenter,
    source: Source,
    options: SamplingOptions,
    summary: Summary,
    several: bool,
) -> Iterator[tuple[Frame, Segmentation]]:
    """Yield frames with their results, up to the first that fails, which is told in the summary."""
    try:
        for frame in read_frames(source):
            if not source.is_video and looks_like_labels(frame.image):
                summary.label_images.append(source.path)
                if several:
                    return
            yield frame, segmenter.segment(frame.image, options)
    except CamsegError as error:
        path = str(source.path)
        text, name = message_of(str(error)), message_of(path)
        summary.failures.append(text if name in text else f"{name}: {text}")
