"""Files as an attacker or a failing disk makes them: valid files with seeded random changes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Literal

LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
CODESTREAMS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xfe\xff\x00\xe0")
"""Starts of JPEG and JPEG 2000, and of an encapsulated frame."""

Files = Mapping[str, bytes]
Fault = Callable[[bytearray, int, random.Random, Files], None]


def mutated(files: Files, name: str, number: int) -> bytes:
    """The `number`th changed version of a file, with one to thirty faults; always the same."""
    dice = random.Random(f"{name} {number}")
    content = bytearray(files[name])
    # Half of the changes are in structure: the header of the file or of compressed pixels
    heads = [132 if content[128:132] == b"DICM" else 4]
    heads += [at for at in map(content.rfind, CODESTREAMS) if at > 0]
    head = dice.choice(heads) if dice.random() < 0.5 else None
    for _ in range(dice.choice((1, 1, 2, 4, 30))):
        if len(content) < 8:
            break
        at = dice.randrange(len(content)) if head is None else head + int(dice.expovariate(1 / 200))
        dice.choice(FAULTS)(content, min(at, len(content) - 5), dice, files)
    if content.startswith(b"\x89PNG") and dice.random() < 0.8:
        _repair_png(content)
    return bytes(content)


def _flip(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    content[at] ^= 1 << dice.randrange(8)


def _byte(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    content[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def _length(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    size, value = dice.choice((2, 4)), dice.choice(LENGTHS)
    order: Literal["little", "big"] = "little" if dice.random() < 0.5 else "big"
    content[at : at + size] = (value % 256**size).to_bytes(size, order)


def _cut(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    del content[at : at + dice.randrange(1, 40)]


def _double(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    content[at:at] = content[at : at + dice.randrange(1, 200)] * dice.choice((1, 1, 20))


def _truncate(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    if dice.random() < 0.3:
        del content[at:]


def _splice(content: bytearray, at: int, dice: random.Random, files: Files) -> None:
    other = files[dice.choice(sorted(files))]
    start = dice.randrange(len(other))
    piece = other[start : start + dice.randrange(1, 400)]
    content[at : at + len(piece) * dice.randrange(2)] = piece


FAULTS: tuple[Fault, ...] = (_flip, _flip, _byte, _byte, _length, _length, _cut, _double,
                             _truncate, _splice)  # fmt: skip


def _repair_png(content: bytearray) -> None:
    """Correct the checksums of chunks; with wrong ones no change would reach a decoder."""
    at = 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            return
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
