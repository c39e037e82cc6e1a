"""Print what the audits find of injected faults: ``python -m tests.anomalies``, a table in Markdown."""

import tempfile
from pathlib import Path

from tests.anomalies.clean import clean_captures
from tests.anomalies.table import markdown


def main() -> None:
    """Record, inject, look, print."""
    with tempfile.TemporaryDirectory() as folder:
        captures = clean_captures(Path(folder))
    for line in markdown(captures):
        print(line, flush=True)


if __name__ == "__main__":
    main()
