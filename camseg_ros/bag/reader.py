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
from operator import attrgetter
from pathlib import Path

from camseg_core.errors import CamsegError, in_one_line
from camseg_core.images.reading import in_natural_order
from camseg_ros.bag.contents import BagFile, BagLoss, BagMessage, BagTopic
from camseg_ros.bag.metadata_file import BagMetadata
from camseg_ros.bag.storage_file import ROS1_SUFFIXES, ZSTD, is_storage, open_storage


class Bag:
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
    ) -> None:
        """Take what `open_bag` found.

        Args:
            path: Path that was opened.
            files: Files of the bag, open.
            loss: Damage found before messages are read; None if there is none.
            known_types: Message types by topic from metadata.yaml, including topics that may be
                lost entirely.
        """
        self.path = path
        self.name = _name(path)
        self._files = files
        self._known_types = known_types or {}
        self._loss_at_open = loss
        self._losses_within: dict[int, BagLoss] = {}  # by number of the file

    def __enter__(self) -> Bag:
        """Return the bag."""
        return self

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
        found = _merged(self._files)
        lost = {name: BagTopic(name, kind, 0) for name, kind in self._known_types.items()}
        return dict(sorted({**lost, **found}.items()))

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
        if reason:
            self._lose(number, lost, last_ns, reason)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _lose(self, number: int, lost: dict[str, int], last_ns: int | None, reason: str) -> None:
        """Record what one pass over some topics of a file missed; another pass may miss others."""
        end_ns = self._files[number].end_ns
        seconds = 0.0
        if end_ns is not None and last_ns is not None:
            seconds = max(0.0, (end_ns - last_ns) / 1e9)
        earlier = self._losses_within.get(number)
        if earlier is not None:
            reason = earlier.reason
            lost = {**(earlier.messages or {}), **lost}
            seconds = max(seconds, earlier.seconds or 0.0)
        self._losses_within[number] = BagLoss(reason, lost, seconds)


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
    present = _storage_files(folder)
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
    missing = [name for name in metadata.file_names if not _begins_any(name, [*found, *present])]
    others = [path for path in present if path not in found]
    others = [path for path in others if _series(path) in map(_series, found)]
    bag = _open_files(folder, found, metadata, missing)
    if others and (bag.loss is not None or metadata.counts is None):
        bag.close()
        bag = _open_files(folder, in_natural_order([*found, *others]), metadata, [])
    return bag


def _open_files(
    path: Path, storages: Sequence[Path], metadata: BagMetadata, missing: Sequence[str]
) -> Bag:
    """Open each file by itself; damage to any of them is the bag's loss."""
    reasons: list[str] = []
    files: list[BagFile] = []
    try:
        for storage in storages:
            file, reason = open_storage(storage)
            files.append(file)
            reasons += [reason] if reason else []
        if reasons and not any(topic.count for topic in _merged(files).values()):
            reasons = [*(f"{name} is missing" for name in missing), *reasons]
            raise CamsegError(f"nothing can be read from {path}: {'; '.join(reasons)}")
    except BaseException:
        for file in files:
            file.close()
        raise
    return Bag(path, files, _loss(metadata, files, reasons, missing), metadata.types)


def _loss(
    metadata: BagMetadata, files: Sequence[BagFile], reasons: Sequence[str], missing: Sequence[str]
) -> BagLoss | None:
    """Compare what can be read with what metadata.yaml says was there."""
    lost = None
    if metadata.counts is not None:
        readable = {name: topic.count for name, topic in _merged(files).items()}
        lost = {n: max(0, count - readable.get(n, 0)) for n, count in metadata.counts.items()}
        if not (reasons or missing) and any(lost.values()):
            reasons = ["metadata.yaml counts more messages than the files hold"]
    if lost is None or any(lost.values()):  # else a missing file held nothing
        reasons = [*(f"{name} is missing" for name in missing), *reasons]
    if not reasons:
        return None
    seconds, end_ns = None, _end_ns(files)
    if metadata.end_ns is not None and end_ns is not None:
        seconds = max(0.0, (metadata.end_ns - end_ns) / 1e9)
    return BagLoss("; ".join(reasons), lost, seconds)


def _overlapping(files: Sequence[BagFile]) -> Iterator[list[int]]:
    """Return the numbers of the files by time, in groups of those that overlap.

    Files without messages are left out.
    """
    times = [
        (file.start_ns, file.end_ns, number)
        for number, file in enumerate(files)
        if file.start_ns is not None and file.end_ns is not None
    ]
    group: list[int] = []
    group_end_ns = 0
    for start_ns, end_ns, number in sorted(times, key=lambda time: time[0]):
        if group and start_ns > group_end_ns:
            yield group
            group = []
        group_end_ns = max(group_end_ns, end_ns) if group else end_ns
        group.append(number)
    if group:
        yield group


def _storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder, ``bag_2.mcap`` before ``bag_10.mcap``."""
    return in_natural_order(p for p in folder.iterdir() if is_storage(p) and p.is_file())


def _begins_any(name: str, paths: Sequence[Path]) -> bool:
    return any(path.name.startswith(name) for path in paths)


def _series(path: Path) -> str:
    """Return what the files of a split bag have in common: their names without their numbers."""
    return re.sub(r"_\d+(?=\.)", "", path.name)


def _name(path: Path) -> str:
    name = path.resolve().name
    if path.is_dir():
        return name
    for suffix in (ZSTD, ROS1_SUFFIXES[1]):
        name = name.removesuffix(suffix)
    return Path(name).stem


def _end_ns(files: Sequence[BagFile]) -> int | None:
    return max((f.end_ns for f in files if f.end_ns is not None), default=None)


def _merged(files: Sequence[BagFile]) -> dict[str, BagTopic]:
    topics: dict[str, BagTopic] = {}
    for file in files:
        for name, topic in file.topics.items():
            earlier = topics.get(name)
            count = topic.count + (earlier.count if earlier else 0)
            topics[name] = BagTopic(name, (earlier or topic).message_type, count)
    return dict(sorted(topics.items()))
