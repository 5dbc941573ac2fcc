# SPDX-License-Identifier: Apache-2.0
"""Changes to bytes, texts and plain values that readers have to survive, by a seeded generator."""

from __future__ import annotations

import copy
import math
import struct
from random import Random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63,
    2**64, 10**30, -(2**31), -(2**63), 10**4000, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308,
    math.nan, math.inf, -math.inf, True, False,
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a" * 100_000, "\n\r\x1b[31m", "\ud800", "../../etc/passwd", "/dev/zero",
    "{}", "%s%n", "\u00e9\u202e", "<script>alert(1)</script>", "1:30", "0x10", "1e400", "nan",
    "~",
    "\U0001f697" * 1000, "&a [*a, *a]", "rgb8", "16UC1", "bayer_rggb16",
    "rgb8; jpeg compressed bgr8",
)  # fmt: skip
INTEGERS = tuple(number for number in NUMBERS if type(number) is int and 0 <= number < 2**64)
DEEPEST = 3000


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Return ``content`` with one to four changes."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        place = random.randrange(len(changed))
        # Headers come first, and tables of contents come last.
        if random.random() < 0.5:
            near = random.randrange(min(len(changed), 200))
            place = random.choice((near, len(changed) - 1 - near))
        length = random.choice((1, 2, 4, 8, 64, 1000))
        kind = random.randrange(8)
        if kind == 0:
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[place] = random.randrange(256)
        elif kind == 2:
            order, (size, code) = random.choice("<>"), random.choice(((2, "H"), (4, "I"), (8, "Q")))
            number = random.choice(INTEGERS) % 2 ** (8 * size)
            changed[place : place + size] = struct.pack(order + code, number)
        elif kind == 3:
            del changed[place:]
        elif kind == 4:
            del changed[place : place + length]
        elif kind == 5:
            changed[place:place] = changed[place : place + length] * random.choice((1, 2, 50))
        elif kind == 6:
            changed[place:place] = random.randbytes(length)
        else:
            changed[place : place + length] = bytes(length)
    return bytes(changed)


def hostile_value(random: Random) -> Any:
    """Return a plain value that nobody expects."""
    kind = random.randrange(10)
    if kind < 4:
        return random.choice(NUMBERS)
    if kind < 7:
        return random.choice(TEXTS)
    if kind == 7:
        return [random.choice(NUMBERS + TEXTS) for _ in range(random.choice((0, 1, 3, 50)))]
    if kind == 8:
        deep: Any = random.choice(NUMBERS)
        for _ in range(random.choice((1, 100, DEEPEST))):
            deep = [deep]
        return deep
    return random.choice((None, {}, {"": 1}, {"a": {"b": None}}))


def mutated_tree(content: Any, random: Random) -> Any:
    """Return a copy of plain values with one to three changes somewhere in it."""
    changed = copy.deepcopy(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        inner = changed
        while isinstance(inner, (dict, list)) and inner:
            key = random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            child = inner[key]
            if not isinstance(child, (dict, list)) or not child or random.random() < 0.25:
                if random.random() < 0.15:
                    del inner[key]
                elif random.random() < 0.15 and isinstance(inner, dict):
                    inner[random.choice(TEXTS)] = hostile_value(random)
                else:
                    inner[key] = hostile_value(random)
                break
            inner = child
    return hostile_value(random) if random.random() < 0.02 else changed


def mutated_text(content: str, random: Random) -> bytes:
    """Return a text with a word, a line or some bytes changed."""
    if random.random() < 0.5:
        words = content.split(" ")
        words[random.randrange(len(words))] = str(random.choice(TEXTS + INTEGERS[:-1]))
        content = " ".join(words)
    if random.random() < 0.3:
        lines = content.split("\n")
        lines.insert(random.randrange(len(lines) + 1), random.choice(TEXTS))
        content = "\n".join(lines)
    encoded = content.encode("utf-8", "surrogatepass")
    return mutated_bytes(encoded, random) if random.random() < 0.5 else encoded
