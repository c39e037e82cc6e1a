"""The mark "open for write" in the first 48 bytes of an HDF5 file, and how to clear it (HDF5's own tool is h5clear -s)."""

from pathlib import Path

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZE, FLAGS = (
    44,
    11,
)  # bytes under the checksum; place of the flags (HDF5 file format specification, superblock version 3)
_MASK = 0xFFFFFFFF


def clear_mark(path: Path) -> None:
    """Clear the mark in place; a file that has none, or is not HDF5 of this version, stays as it is."""
    with path.open("r+b") as file:
        block = bytearray(file.read(SIZE + 4))
        if len(block) < SIZE + 4 or not block.startswith(SIGNATURE) or block[8] not in (2, 3) or not block[FLAGS]:
            return
        block[FLAGS] = 0
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
