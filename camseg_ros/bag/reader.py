# SPDX-License-Identifier: Apache-2.0
"""Open any bag: rosbag2 folders and files (mcap, sqlite3), split or whole, and ROS 1 bags.

A bag is read file by file, and whole files in order of log time. Damaged files are read up to the
damage; `Bag.loss` says what is missing from what the files and metadata.yaml count.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from operator import attrgetter
from pathlib import Path

from camseg_core.errors import CamsegError, in_one_line
from camseg_core.system.folders import in_natural_order
from camseg_ros.bag.contents import BagFile, BagLoss, BagMessage, BagTopic, merge_topics
from camseg_ros.bag.metadata_file import BagMetadata
from camseg_ros.bag.storage_file import ROS1_SUFFIXES, ZSTD, is_storage, open_storage


class Bag(AbstractContextManager["Bag"]):
    """An open bag, and a context manager that closes it.

    Attributes:
        path: Path that was opened.
        name: Name for results, without suffix.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[BagFile],
        loss: BagLoss | None,
        known_types: Mapping[str, str] | None = None,
        stack: ExitStack | None = None,
    ) -> None:
        """Take what `open_bag` found.

        Args:
            path: Path that was opened.
            files: Files of the bag, open.
            loss: Damage found before messages are read; None if there is none.
            known_types: Message types by topic from metadata.yaml, including topics that may be
                lost entirely.
            stack: Stack that closes the files.
        """
        self.path = path
        self.name = _name(path)
        self._files = files
        self._known_types = known_types or {}
        self._stack = stack or ExitStack()
        self._loss_at_open = loss
        self._losses_within: dict[int, BagLoss] = {}  # by number of the file

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    @property
    def loss(self) -> BagLoss | None:
        """Return the loss; None for a whole bag.

        Damage in the middle of a file is found only while messages are read, and counts for the
        topics that were asked for.
        """
        at_open = [self._loss_at_open] if self._loss_at_open else []
        return BagLoss.sum([*at_open, *self._losses_within.values()])

    @property
    def topics(self) -> dict[str, BagTopic]:
        """Return the topics by name, sorted; with those of which metadata.yaml alone knows."""
        found = [topic for file in self._files for topic in file.topics.values()]
        lost = [BagTopic(name, kind, 0) for name, kind in self._known_types.items()]
        return dict(sorted(merge_topics([*found, *lost]).items()))

    @property
    def start_ns(self) -> int | None:
        """Return the log time of the first message, nanoseconds; None without messages."""
        return min((f.start_ns for f in self._files if f.start_ns is not None), default=None)

    @property
    def end_ns(self) -> int | None:
        """Return the log time of the last message that can be read; None without messages."""
        return _end_ns(self._files)

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Return the messages of some topics, one at a time, by log time.

        Files are read one after another, or together if they overlap in time. The messages of a
        file that is damaged or has no index come in the file's own order. After damage the rest of
        that file is left out and counts as `loss`, and so do messages that a file counts but does
        not hold.
        """
        for numbers in _overlapping(self._files):
            parts = [self._of_file(number, set(topics)) for number in numbers]
            yield from heapq.merge(*parts, key=attrgetter("log_ns"))

    def _of_file(self, number: int, topics: Collection[str]) -> Iterator[BagMessage]:
        file = self._files[number]
        read: Counter[str] = Counter()
        last_ns = file.start_ns
        reason = ""
        try:
            for message in file.messages(topics):
                read[message.topic] += 1
                last_ns = message.log_ns
                yield message
        except Exception as error:  # libraries raise many types on damaged bytes
            reason = f"a part cannot be read ({in_one_line(error)[:200]})"
            reason += f"; {file.advice}" if file.advice else ""
        lost = {
            name: topic.count - read[name]
            for name, topic in file.topics.items()
            if name in topics and topic.count >= read[name]
        }
        if not reason and any(lost.values()):
            reason = "it holds fewer messages than its index counts"
        if reason:  # an earlier pass may have missed messages of other topics
            earlier = self._losses_within.get(number, BagLoss(reason, {}, 0.0))
            self._losses_within[number] = BagLoss(
                earlier.reason,
                {**(earlier.messages or {}), **lost},
                max(_seconds(last_ns, file.end_ns) or 0.0, earlier.seconds or 0.0),
            )

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


def open_bag(path: Path) -> Bag:
    """Open a bag's folder, or one of its files.

    Raises:
        CamsegError: The path does not exist, is not a bag, or holds nothing that can be read.
    """
    try:
        if path.is_dir():
            return _open_folder(path)
        if not path.exists():
            raise CamsegError(f"no such bag: {path}")
        return _open_files(path, [path], BagMetadata(), [])
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


def _open_folder(folder: Path) -> Bag:
    metadata = BagMetadata.read(folder)
    # In this order, ``bag_2.mcap`` comes before ``bag_10.mcap``.
    present = in_natural_order(p for p in folder.iterdir() if is_storage(p) and p.is_file())
    listed = [path for name in metadata.file_names for path in present if path.name == name]
    found = listed or present
    if not found:
        raise CamsegError(f"{folder} is not a bag: no file in it ends in .mcap or .db3")
    if not listed and len(set(map(_series, found))) > 1:
        raise CamsegError(
            f"{folder} holds several bags ({found[0].name}, {found[1].name}, ...) and no "
            "metadata.yaml that makes them one; give one of the files"
        )
    # metadata.yaml may have been cut off in its list of files, or within a name.
    names = [path.name for path in (*found, *present)]
    missing = [n for n in metadata.file_names if not any(name.startswith(n) for name in names)]
    series = set(map(_series, found))
    others = [path for path in present if path not in found and _series(path) in series]
    bag = _open_files(folder, found, metadata, missing)
    if others and (bag.loss is not None or metadata.counts is None):
        bag.close()
        bag = _open_files(folder, in_natural_order([*found, *others]), metadata, [])
    return bag


def _open_files(
    path: Path, storages: Sequence[Path], metadata: BagMetadata, missing: Sequence[str]
) -> Bag:
    """Open each file by itself; damage to any of them is the bag's loss."""
    with ExitStack() as stack:
        opened = [open_storage(storage, stack) for storage in storages]
        files = [file for file, _ in opened]
        reasons = [reason for _, reason in opened if reason]
        if reasons and not any(t.count for file in files for t in file.topics.values()):
            reasons = [*(f"{name} is missing" for name in missing), *reasons]
            raise CamsegError(f"nothing can be read from {path}: {'; '.join(reasons)}")
        loss = _loss(metadata, files, reasons, missing)
        return Bag(path, files, loss, metadata.types, stack.pop_all())


def _loss(
    metadata: BagMetadata, files: Sequence[BagFile], reasons: Sequence[str], missing: Sequence[str]
) -> BagLoss | None:
    """Compare what can be read with what metadata.yaml says was there."""
    lost = None
    if metadata.counts is not None:
        readable = merge_topics(topic for file in files for topic in file.topics.values())
        lost = {
            name: max(0, count - (readable[name].count if name in readable else 0))
            for name, count in metadata.counts.items()
        }
        if not (reasons or missing) and any(lost.values()):
            reasons = ["metadata.yaml counts more messages than the files hold"]
    if lost is None or any(lost.values()):  # else a missing file held nothing
        reasons = [*(f"{name} is missing" for name in missing), *reasons]
    if not reasons:
        return None
    return BagLoss("; ".join(reasons), lost, _seconds(_end_ns(files), metadata.end_ns))


def _seconds(last_ns: int | None, end_ns: int | None) -> float | None:
    """Return the time from the last readable message to the end; None if either is unknown."""
    if last_ns is None or end_ns is None:
        return None
    return max(0.0, (end_ns - last_ns) / 1e9)


def _overlapping(files: Sequence[BagFile]) -> list[list[int]]:
    """Return the numbers of the files by time, in groups of those that overlap.

    Files without messages are left out.
    """
    times = [
        (file.start_ns, file.end_ns, number)
        for number, file in enumerate(files)
        if file.start_ns is not None and file.end_ns is not None
    ]
    groups: list[list[int]] = []
    latest_ns = 0
    for start_ns, end_ns, number in sorted(times, key=lambda time: time[0]):
        if not groups or start_ns > latest_ns:
            groups.append([])
        groups[-1].append(number)
        latest_ns = max(latest_ns, end_ns)
    return groups


def _series(path: Path) -> str:
    """Return what the files of a split bag have in common: their names without their numbers."""
    return re.sub(r"_\d+(?=\.)", "", path.name)


def _name(path: Path) -> str:
    name = path.resolve().name
    if path.is_dir():
        return name
    return Path(name.removesuffix(ZSTD).removesuffix(ROS1_SUFFIXES[1])).stem


def _end_ns(files: Sequence[BagFile]) -> int | None:
    return max((f.end_ns for f in files if f.end_ns is not None), default=None)
