# SPDX-License-Identifier: Apache-2.0
"""Open any bag: rosbag2 folders and files (mcap, sqlite3), split or whole, and ROS 1 bags.

What is whole is read by the rosbags library, in order of log time. What it refuses is read file by
file, and what is damaged, up to the damage: `Bag.loss` then says what is missing.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
import zstandard
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from camseg_core.errors import CamsegError
from camseg_ros.bag.contents import BagFile, BagLoss, BagMessage, BagTopic
from camseg_ros.bag.damaged_mcap import DamagedMcap
from camseg_ros.bag.damaged_sqlite import DamagedSqlite, is_cut_off
from camseg_ros.bag.serialization import Wire, decompressed

METADATA = "metadata.yaml"
DAMAGED_READERS = {".mcap": DamagedMcap, ".db3": DamagedSqlite}
ROS1_SUFFIX = ".bag"
BLOCK_BYTES = 1 << 20


class Bag:
    """A bag that is open; a context manager.

    Attributes:
        path: what was opened.
        name: without suffix, for results.
        loss: what is damaged; None for a whole bag. Damage that the first look does not show, in
            the middle of a file, is found while messages are read.
    """

    def __init__(self, path: Path, files: Sequence[BagFile], loss: BagLoss | None) -> None:
        """Take what `open_bag` found."""
        self.path = path
        self.name = path.resolve().stem if path.is_file() else path.resolve().name
        self.loss = loss
        self._files = files

    def __enter__(self) -> Bag:
        """Give the bag."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its files."""
        self.close()

    @property
    def topics(self) -> dict[str, BagTopic]:
        """The topics by name, sorted."""
        return _merged(self._files)

    @property
    def start_ns(self) -> int | None:
        """Log time of the first message, nanoseconds; None without messages."""
        return min((f.start_ns for f in self._files if f.start_ns is not None), default=None)

    @property
    def end_ns(self) -> int | None:
        """Log time of the last message that can be read, nanoseconds; None without messages."""
        return max((f.end_ns for f in self._files if f.end_ns is not None), default=None)

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics, one at a time, file by file.

        Where damage is met, the rest of that file is left out and `loss` is set.
        """
        wanted = set(topics)
        for file in self._files:
            read: Counter[str] = Counter()
            last_ns = file.start_ns
            try:
                for message in file.messages(wanted):
                    read[message.topic] += 1
                    last_ns = message.log_ns
                    yield message
            except Exception as error:  # libraries raise many types on damaged bytes
                self.loss = self.loss or _loss_within(file, wanted, read, last_ns, error)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def open_bag(path: Path) -> Bag:
    """Open a bag's folder, or one of its files.

    Raises:
        CamsegError: nothing there, no bag, or nothing in it can be read.
    """
    if not path.exists():
        raise CamsegError(f"no such bag: {path}")
    if path.is_file() and path.suffix not in {*DAMAGED_READERS, ROS1_SUFFIX, ".zstd"}:
        raise CamsegError(
            f"{path} is no bag: a folder with {METADATA}, or a file that ends in .mcap, .db3 or "
            f"{ROS1_SUFFIX} is needed"
        )
    try:
        if path.suffix == ROS1_SUFFIX and path.is_file():
            return _open_ros1(path)
        try:
            if path.suffix != ".zstd":
                return Bag(path, [WholeRosbag2(path)], None)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise
        except Exception:  # rosbags raises many types; what is whole is read below # noqa: S110
            pass
        return _open_file_by_file(path)
    except OSError as error:
        raise CamsegError(f"cannot read {path}: {error.strerror or error}") from error


class UnindexedError(ValueError):
    """An mcap file is whole, but has no index."""


class WholeRosbag2:
    """A rosbag2 folder or file that the rosbags library reads; a `BagFile`."""

    wire: Wire = "cdr"

    def __init__(self, path: Path) -> None:
        """Open it; raises whatever the library raises."""
        storages = path.glob("*.db3") if path.is_dir() else [path]
        for storage in storages:
            if storage.suffix == ".db3" and is_cut_off(storage):
                raise ValueError("shorter than its header says")
        self._reader: Any = self._make_reader(path)
        self._reader.open()
        if self._has_unindexed_mcap():
            self._reader.close()
            raise UnindexedError("an mcap file has no index")
        count = self._reader.message_count
        self.start_ns: int | None = int(self._reader.start_time) if count else None
        # The library's end is one nanosecond after the last message.
        self.end_ns: int | None = int(self._reader.end_time) - 1 if count else None
        counts: Counter[str] = Counter()
        types: dict[str, str] = {}
        for connection in self._reader.connections:
            counts[connection.topic] += connection.msgcount
            types.setdefault(connection.topic, connection.msgtype)
        self.topics = {name: BagTopic(name, types[name], counts[name]) for name in types}

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Give the messages of some topics by log time."""
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:  # to the library, no connection is all of them
            return
        for connection, log_ns, raw in self._reader.messages(connections):
            content = decompressed(raw) if self.wire == "cdr" else raw
            yield BagMessage(connection.topic, connection.msgtype, int(log_ns), content, self.wire)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def _make_reader(self, path: Path) -> Any:
        return Reader2(path)

    def _has_unindexed_mcap(self) -> bool:
        """The library reads such a file only where its messages are in order of time."""
        storage = getattr(self._reader, "storage", None)
        storages = getattr(storage, "storages", [storage])
        return any(getattr(one, "chunks", None) == [] for one in storages)


class WholeRosbag1(WholeRosbag2):
    """A ROS 1 bag."""

    wire: Wire = "ros1"

    def _make_reader(self, path: Path) -> Any:
        return Reader1(path)


def _open_ros1(path: Path) -> Bag:
    try:
        return Bag(path, [WholeRosbag1(path)], None)
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CamsegError(
            f"{path} is not readable: {reason} (`rosbag reindex` may help where it was cut off)"
        ) from error


def _open_file_by_file(path: Path) -> Bag:
    """Read each storage file by itself, the damaged ones up to the damage."""
    metadata = _read_metadata(path)
    names = metadata.get("relative_file_paths") if path.is_dir() else [path.name]
    folder = path if path.is_dir() else path.parent
    if names:
        paths = [folder / Path(str(name)).name for name in names]
    else:
        paths = sorted(
            (p for p in folder.iterdir() if _storage_suffix(p) in DAMAGED_READERS), key=_split_order
        )
    found = [storage for storage in paths if storage.is_file()]
    if not found:
        raise CamsegError(f"{path} is no bag: no file in it ends in .mcap or .db3")
    reasons = [f"{storage.name} is missing" for storage in paths if storage not in found]
    files: list[BagFile] = []
    for storage in found:
        file, reason = _open_storage(storage)
        files.append(file)
        reasons += [reason] if reason else []
    if not any(topic.count for topic in _merged(files).values()) and reasons:
        for file in files:
            file.close()
        raise CamsegError(f"nothing can be read of {path}: {'; '.join(reasons)}")
    loss = None
    if reasons:
        loss = _loss_by_metadata(metadata, files, "; ".join(reasons))
    return Bag(path, files, loss)


def _open_storage(path: Path) -> tuple[BagFile, str]:
    """Open one file; gives what is wrong with it, or an empty text."""
    if path.suffix == ".zstd":
        return _DecompressedFile.open(path)
    try:
        return WholeRosbag2(path), ""
    except PermissionError:
        raise
    except UnindexedError:
        in_order = DamagedMcap(path)
        return in_order, "" if in_order.is_whole else f"{path.name} is torn"
    except Exception as error:
        reason = " ".join(str(error).replace(str(path), path.name).split())[:200]
        return DAMAGED_READERS[path.suffix](path), f"{path.name} is cut off or torn ({reason})"


class _DecompressedFile:
    """A file that is compressed as a whole, decompressed into a temporary folder."""

    def __init__(self, file: BagFile, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._file, self._folder = file, folder
        self.topics, self.start_ns, self.end_ns = file.topics, file.start_ns, file.end_ns

    @classmethod
    def open(cls, path: Path) -> tuple[BagFile, str]:
        folder = tempfile.TemporaryDirectory(prefix="camseg_bag_")
        storage = Path(folder.name) / path.stem
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        with path.open("rb") as source, storage.open("wb") as target, suppress(zstandard.ZstdError):
            while block := source.read(BLOCK_BYTES):
                target.write(decompressor.decompress(block))
        file, reason = _open_storage(storage)
        return cls(file, folder), reason and f"{path.name}: {reason}"

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        return self._file.messages(topics)

    def close(self) -> None:
        self._file.close()
        self._folder.cleanup()


def _storage_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".zstd" else path.suffix


def _split_order(path: Path) -> list[int | str]:
    """Order ``bag_2.mcap`` before ``bag_10.mcap``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _read_metadata(path: Path) -> dict[str, Any]:
    """Read ``metadata.yaml``; nothing where it is absent or damaged."""
    try:
        content = yaml.safe_load((path / METADATA).read_text(encoding="utf-8"))
        metadata = content["rosbag2_bagfile_information"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _merged(files: Sequence[BagFile]) -> dict[str, BagTopic]:
    topics: dict[str, BagTopic] = {}
    for file in files:
        for name, topic in file.topics.items():
            earlier = topics.get(name)
            count = topic.count + (earlier.count if earlier else 0)
            topics[name] = BagTopic(name, (earlier or topic).message_type, count)
    return dict(sorted(topics.items()))


def _loss_by_metadata(metadata: dict[str, Any], files: Sequence[BagFile], reason: str) -> BagLoss:
    """Compare what can be read with what metadata.yaml says was there."""
    readable = _merged(files)
    end_ns = max((f.end_ns for f in files if f.end_ns is not None), default=0)
    try:
        expected = {
            str(entry["topic_metadata"]["name"]): int(entry["message_count"])
            for entry in metadata["topics_with_message_count"]
        }
        expected_end_ns = int(metadata["starting_time"]["nanoseconds_since_epoch"]) + int(
            metadata["duration"]["nanoseconds"]
        )
    except (KeyError, TypeError, ValueError):
        return BagLoss(reason, None, None)
    counts = {name: topic.count for name, topic in readable.items()}
    lost = {name: max(0, count - counts.get(name, 0)) for name, count in expected.items()}
    return BagLoss(reason, lost, max(0.0, (expected_end_ns - end_ns) / 1e9))


def _loss_within(
    file: BagFile,
    topics: Collection[str],
    read: Counter[str],
    last_ns: int | None,
    error: Exception,
) -> BagLoss:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    counts = {name: topic.count for name, topic in file.topics.items() if name in topics}
    lost = {name: max(0, count - read[name]) for name, count in counts.items()}
    seconds = None
    if file.end_ns is not None and last_ns is not None:
        seconds = max(0.0, (file.end_ns - last_ns) / 1e9)
    return BagLoss(f"a part cannot be read ({reason})", lost, seconds)
