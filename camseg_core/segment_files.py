# SPDX-License-Identifier: Apache-2.0
"""Segmentation of files: images and videos in, result files and mean stage times out."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from camseg_core.errors import CamsegError, message_of
from camseg_core.images.drawing import overlay_image, write_png
from camseg_core.images.reading import Frame, Source, find_sources, read_frames
from camseg_core.segmenter import STAGES, SamplingOptions, Segmentation, Segmenter
from camseg_core.system.progress import progress_bar


@dataclass
class Summary:
    """What `segment_files` did.

    Attributes:
        frames: Number of images that were segmented.
        stage_seconds: Seconds per stage, summed over the frames.
        failures: One line for each input that could not be read to its end.
        without_number: Number of images with pixels for which the networks gave no number.
    """

    frames: int = 0
    stage_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    failures: list[str] = field(default_factory=list)
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
    segmenter: Segmenter, inputs: Path, out: Path, options: SamplingOptions
) -> Summary:
    """Segment every frame of ``inputs``, and write its results below ``out``.

    ``<stem>_ids.png`` is 8-bit, 255 = unlabeled; ``_confidence`` is 8-bit, 255 = certain;
    ``_color`` and ``_overlay`` are RGB.

    One file among many that cannot be read or segmented does not stop the others; it is in the
    summary's failures.

    Raises:
        CamsegError: ``inputs`` holds nothing to read, or a result cannot be written.
    """
    sources = find_sources(inputs)
    summary = Summary()
    total = sum(source.frame_count for source in sources)
    with progress_bar(total or None, "frame", "segment") as bar:
        for source in sources:
            for frame, result in _segmented(segmenter, source, options, summary.failures):
                for kind, content in {
                    "ids": result.class_ids,
                    "color": segmenter.label_set.color_image(result.class_ids),
                    "overlay": overlay_image(frame.image, result.class_ids, segmenter.label_set),
                    "confidence": result.confidence,
                }.items():
                    write_png(out / frame.stem.with_name(f"{frame.stem.name}_{kind}.png"), content)
                summary.frames += 1
                summary.without_number += result.has_no_number
                for stage, seconds in result.stage_seconds.items():
                    summary.stage_seconds[stage] += seconds
                bar.update()
    return summary


def _segmented(
    segmenter: Segmenter, source: Source, options: SamplingOptions, failures: list[str]
) -> Iterator[tuple[Frame, Segmentation]]:
    """Yield frames with their results, up to the first that fails, which is added to failures."""
    try:
        for frame in read_frames(source):
            yield frame, segmenter.segment(frame.image, options)
    except CamsegError as error:
        path = str(source.path)
        text, name = message_of(str(error)), message_of(path)
        failures.append(text if name in text else f"{name}: {text}")
