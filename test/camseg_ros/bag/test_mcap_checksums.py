# SPDX-License-Identifier: Apache-2.0
import zlib
from pathlib import Path
from typing import Any

import bags
import pytest
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from camseg_ros.bag.mcap_checksums import add_checksums
from camseg_ros.bag.reader import open_bag

SIZE = (60, 80)
FRAMES = 120


def chunks(path: Path) -> list[Chunk]:
    with path.open("rb") as file:
        records = StreamReader(file, emit_chunks=True).records
        return [record for record in records if isinstance(record, Chunk)]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_chunk_of_a_bag_that_is_written_has_its_checksum(
    tmp_path: Path, compression: Any
) -> None:
    path = bags.storage_file(
        bags.write_bag(tmp_path / "bag", FRAMES, compression=compression, size=SIZE)
    )
    found = chunks(path)
    assert len(found) > 1
    for chunk in found:
        stream, length = get_chunk_data_stream(chunk, validate_crc=True)
        assert chunk.uncompressed_crc == zlib.crc32(stream.read(length)) != 0
    with path.open("rb") as file:
        messages = [m for _, _, m in make_reader(file, validate_crcs=True).iter_messages()]
    assert len(messages) == 2 * FRAMES + 1


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_changed_pixel_is_found(tmp_path: Path, compression: Any) -> None:
    bag = bags.write_bag(tmp_path / "bag", FRAMES, compression=compression, size=SIZE)
    path = bags.storage_file(bag)
    whole = path.read_bytes()
    expected = bags.written_images(bags.CAMERA.image, FRAMES, SIZE)
    for place in range(20_000, len(whole) - 20_000, len(whole) // 12):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with open_bag(bag) as opened:
            found = bags.images_of(opened, bags.CAMERA.image)
            assert opened.loss is not None
        assert found.items() <= expected.items()


def test_twice_is_no_harm_and_a_file_without_chunks_stays(tmp_path: Path) -> None:
    path = bags.storage_file(bags.write_bag(tmp_path / "bag"))
    once = path.read_bytes()
    add_checksums(path)
    assert path.read_bytes() == once
    plain = bags.write_mcap_of_others(tmp_path / "x.mcap", [1, 2], use_chunking=False)
    before = plain.read_bytes()
    add_checksums(plain)
    assert plain.read_bytes() == before
