"""Kill a writer many times and check everything that is left: python -m tests.benchmarks.kill_writer [KILLS].

Every second kill aims at the moment when late layers are laid out, which SWMR mode does not cover. Files are compressed and not,
two of each in turn.
"""

import random
import sys
import tempfile
import traceback
from pathlib import Path

from moedesk.capture.recovery import recover
from tests.support.killed import FLUSH_EVERY, check, kill_once


def main(kills: int) -> None:
    """Print what each kind of kill left."""
    whole = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(kills):
            path = Path(folder) / f"{seed}.h5"
            aimed = seed % 2 == 1
            seconds = random.Random(seed).uniform(0, 0.05 if aimed else 1.5)
            in_time, handed = kill_once(path, seed, seconds, 39 if aimed else 0, compress=seed % 4 < 2)
            try:
                left = check(path, seed, handed // FLUSH_EVERY * FLUSH_EVERY)
                check(recover(path), seed, left)
            except Exception:
                lost += 1
                print(f"kill {seed}: LOST, {in_time}/{handed} passes\n{traceback.format_exc()}")
            else:
                whole += 1
                late = (
                    f" ({in_time - left} of those older than half a second lost: a busy machine)"
                    if left < in_time
                    else ""
                )
                print(f"kill {seed}: {left} of {handed} passes left, all as recorded{late}", flush=True)
            for leftover in Path(folder).iterdir():
                leftover.unlink()
    print(f"{whole} of {kills} files whole, {lost} not")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
