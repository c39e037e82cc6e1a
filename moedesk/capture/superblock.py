"""The first 48 bytes of an HDF5 file: the mark "open for write", and where the file ends; HDF5's h5clear changes them too."""

from pathlib import Path
from typing import IO

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZE, FLAGS, END = 44, 11, slice(28, 36)
"""Bytes under the checksum; places of flags and of the end of the file (HDF5 file format, superblock versions 2 and 3)."""
_MASK = 0xFFFFFFFF


def clear_mark(path: Path) -> None:
    """Clear the mark in place; a file that has none, or is not HDF5 of this version, stays as it is."""
    with path.open("r+b") as file:
        block = _read(file)
        if block is not None and block[FLAGS]:
            block[FLAGS] = 0
            _write(file, block)


def fit_end(path: Path) -> None:
    """Let a file end where it does: HDF5 refuses one that is shorter than it says, as after a write that was refused."""
    with path.open("r+b") as file:
        block = _read(file)
        size = path.stat().st_size
        if block is not None and int.from_bytes(block[END], "little") > size:
            block[END] = size.to_bytes(8, "little")
            _write(file, block)


def _read(file: IO[bytes]) -> bytearray | None:
    """Return the superblock, or None if it is not of a version known here."""
    block = bytearray(file.read(SIZE + 4))
    known = len(block) == SIZE + 4 and block.startswith(SIGNATURE) and block[8] in (2, 3) and block[9] == 8
    return block if known else None


def _write(file: IO[bytes], block: bytearray) -> None:
    block[SIZE:] = lookup3(bytes(block[:SIZE])).to_bytes(4, "little")
    file.seek(0)
    file.write(block)


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' lookup3 hash (hashlittle, initial value 0), the checksum of HDF5's metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    rounds = max(0, -(-len(data) // 12) - 1)
    padded = data.ljust((rounds + 1) * 12, b"\0")
    words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4)]
    for i in range(0, 3 * rounds, 3):
        a, b, c = (a + words[i]) & _MASK, (b + words[i + 1]) & _MASK, (c + words[i + 2]) & _MASK
        a, b, c = _mix(a, b, c)
    if data:
        a, b, c = ((x + word) & _MASK for x, word in zip((a, b, c), words[3 * rounds :], strict=True))
        c = _final(a, b, c)
    return c


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a, c = (a - c) & _MASK ^ _rotate(c, bits), (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & _MASK
        a, b, c = b, c, a
    return b


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (32 - bits)) & _MASK
