"""``moedesk demo``: the sample, in the window; without a display, the main job as files."""

import argparse
from pathlib import Path
from typing import Any

from moedesk.cli.window import add_window_arguments, open_window
from moedesk.core.resources import resource

NAME = "demo"
HELP = "open the sample capture; without a display, record one and save a picture of it"
PROMPTS = {
    "code": "def fibonacci(n):\n",
    "english": "The old house at the end of the street had been empty for",
    "maths": "Let $f$ be a continuous function on the interval",
}
NEW_TOKENS = 24
FOLDER = "moedesk-demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_window_arguments(parser)
    parser.add_argument(
        "--headless",
        metavar="FOLDER",
        help=f"open no window: load the sample model, record it while it generates, and save capture and picture here "
        f"(without a display: in ./{FOLDER})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Open the window on the sample, or do the main job without one."""
    from moedesk.ui.display import display_problem, platform

    problem = display_problem() or ("Qt draws off screen" if platform() in ("offscreen", "minimal") else None)
    if arguments.headless is None and problem is None:
        return open_window([], arguments, sample=True)
    if arguments.headless is None:
        print(f"No window: {problem}. The same work as files:")
    return without_display(Path(arguments.headless or FOLDER), arguments.theme)


def without_display(folder: Path, theme: str | None) -> int:
    """Record the sample model while it generates, and save a picture of the app showing the capture."""
    from moedesk.cli.info import as_text
    from moedesk.cli.window import check_qt
    from moedesk.ui.screenshot import Picture, take

    check_qt()
    folder.mkdir(parents=True, exist_ok=True)
    capture = folder / "demo.h5"
    print("Loading the sample model and recording it while it generates …", flush=True)
    record_sample(capture)
    print(_facts(capture, as_text), flush=True)
    print("Drawing the app …", flush=True)
    pictures = []
    for panel in ("network", "elements"):
        picture = folder / f"{panel}.png"
        take(Picture(capture, panel, theme if theme in ("light", "dark") else "light", layer=0, expert=0), picture)
        pictures.append(picture)
    for what, path in [("capture", capture), *(("picture", path) for path in pictures)]:
        print(f"{what}  {path.resolve()}")
    print(f"Look at it on a machine with a display: moedesk {capture.name}")
    return 0


def record_sample(path: Path) -> None:
    """Record the sample model while it continues a few prompts."""
    import moedesk
    from moedesk.probe.load import load

    model: Any
    model, tokenizer = load(resource("sample", "tinymoe"))
    with moedesk.record(model, path, tokenizer=tokenizer):
        for prompt in PROMPTS.values():
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


def _facts(path: Path, as_text) -> str:  # type: ignore[no-untyped-def]
    from moedesk.capture.open import open_capture

    with open_capture(path) as capture:
        return str(as_text(capture))
