# SPDX-License-Identifier: Apache-2.0
"""Against SQLite itself: rows of any size, in whole files and in cut ones."""

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_ros.bag.sqlite_pages import SqlitePages, read_layout

COLUMNS = (None, int, int, bytes)
Row = tuple[int, int, bytes]


def write(path: Path, rows: list[Row], page_bytes: int = 4096) -> Path:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size={page_bytes}")
    connection.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
        " data BLOB);"
        "CREATE INDEX by_time ON messages (timestamp);"
        "INSERT INTO topics VALUES (1, 'a');"
    )
    statement = "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)"
    connection.executemany(statement, rows)
    connection.commit()
    connection.close()
    return path


def read(path: Path) -> dict[int, list[object]]:
    layout = read_layout(path)
    assert layout is not None
    pages = SqlitePages(path, layout)
    rows = {number: pages.read(place)[1:] for number, place in pages.rows(COLUMNS).items()}
    pages.close()
    return rows


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 20000).map(lambda size: random.Random(size).randbytes(size)),
        ),
        max_size=30,
    ),
    st.sampled_from([512, 1024, 4096, 65536]),
)
@settings(max_examples=40, deadline=None)
def test_all_rows_of_a_whole_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], page_bytes: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "rows.db3", rows, page_bytes)
    assert read(path) == {number: list(row) for number, row in enumerate(rows, start=1)}


def test_of_a_cut_file_the_rows_whose_pages_are_there(tmp_path: Path) -> None:
    """So many rows that SQLite's own inner pages of the first ones stand far behind them."""
    rng = random.Random(1)
    rows = [(index % 3, index, rng.randbytes(rng.randrange(1, 6000))) for index in range(5000)]
    path = write(tmp_path / "rows.db3", rows)
    content = path.read_bytes()
    for share in (0.05, 0.3, 0.52, 0.97):
        path.write_bytes(content[: int(share * len(content))])
        found = read(path)
        assert found == {number: list(rows[number - 1]) for number in found}
        assert len(found) > (share - 0.02) * len(rows)
        assert [*found] == [*range(1, len(found) + 1)]


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"SQLite format 3\0", b"x" * 4096, b"SQLite format 3\0" + bytes(4096)):
        path.write_bytes(content)
        assert read_layout(path) is None
