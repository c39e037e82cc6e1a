import argparse
from pathlib import Path

import pytest

from moedesk.cli.main import main
from moedesk.cli.record import places, positive, size


def test_options_and_the_scripts_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def run_script(script: str, arguments: list[str], output: Path, **options: object) -> int:
        asked.append((script, arguments, output, options))
        return 3

    monkeypatch.setattr("moedesk.probe.script.run_script", run_script)
    code = main(
        ["record", "make.py", "-o", "x.h5", "--layers", "0,2-3", "--byte-budget", "2G", "--", "-o", "y", "--logits"]
    )
    assert code == 3
    options = {
        "layers": [0, 2, 3],
        "every": 1,
        "counts_only": False,
        "logits": False,
        "tokens": 1.0,
        "reservoir": 0,
        "byte_rate": 0,
        "weights": "exact",
        "byte_budget": 2_000_000_000,
    }
    assert asked == [("make.py", ["-o", "y", "--logits"], Path("x.h5"), options)]
    main(["record", "folder/make.py"])
    assert asked[1][1:3] == ([], Path("make.h5"))  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "number"), [("500M", 500_000_000), ("1.5k", 1500), ("12", 12), ("2GB", 2_000_000_000)]
)
def test_sizes(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize(
    ("parse", "text"), [(size, "much"), (places, "1,a"), (places, "3-"), (positive, "0"), (positive, "-1")]
)
def test_what_is_no_number_is_refused(parse, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(argparse.ArgumentTypeError):
        parse(text)
