import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from moedesk.cli.main import main
from moedesk.core.resources import resource
from moedesk.ui.theme import THEMES

SAMPLE = str(resource("sample", "tinymoe.h5"))


@pytest.mark.parametrize(("panel", "theme"), [("network", "light"), ("elements", "dark")])
def test_a_picture_has_the_size_and_the_colours_asked_for(qapp, tmp_path: Path, panel: str, theme: str) -> None:  # type: ignore[no-untyped-def]
    output = tmp_path / "x.png"
    arguments = ["screenshot", SAMPLE, "-o", str(output), "--panel", panel, "--theme", theme, "--size", "900x600"]
    assert main([*arguments, "--layer", "1", "--expert", "3"]) == 0
    image = QImage(str(output))
    assert (image.width(), image.height()) == (900, 600)
    colors = {image.pixelColor(x, y).name() for x in range(0, 900, 7) for y in range(0, 600, 7)}
    assert {THEMES[theme].background, THEMES[theme].surface} <= colors
    assert len(colors) > 20, "something is drawn"
    qapp.setStyleSheet("")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--panel", "nothing"], "network"),
        (["--expert", "3"], "--layer"),
        (["--pass", "100000"], "no pass 100000"),
        (["--layer", "77"], "no MoE layer 77"),
        (["-o", "missing/folder/x.png"], "missing/folder/x.png"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    qapp,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
) -> None:
    assert main(["screenshot", SAMPLE, "-o", str(tmp_path / "x.png"), "--size", "400x300", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    qapp.setStyleSheet("")


def test_the_app_with_a_capture_drawn_never_loads_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom moedesk.cli.main import main\n"
        f"assert main(['screenshot', {SAMPLE!r}, '-o', {str(tmp_path / 'x.png')!r}, '--size', '400x300']) == 0\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""
