"""``moedesk demo``: the sample, in the window; without a display, the main job as files."""

import argparse
import os
from pathlib import Path
from typing import Any

from moedesk.cli.window import add_window_arguments, open_window
from moedesk.core.resources import resource

NAME = "demo"
HELP = "open the sample capture; without a display, record one, audit it and save pictures of it"
PROMPT = 200  # characters of a held-out text of each domain, which the model continues
NEW_TOKENS = 20
FOLDER = "moedesk-demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_window_arguments(parser)
    parser.add_argument(
        "--headless",
        metavar="FOLDER",
        help=f"open no window: load the sample model, record it while it generates, audit the capture, and save all "
        f"with pictures here (without a display: in ./{FOLDER})",
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
    """Record the sample model while it generates, audit the capture, and save pictures of the app showing it."""
    from moedesk.cli.window import check_qt
    from moedesk.ui.screenshot import Picture, take

    check_qt()
    folder.mkdir(parents=True, exist_ok=True)
    capture, report = folder / "demo.h5", folder / "audit.txt"
    print("Loading the sample model and recording it while it continues eight texts …", flush=True)
    record_sample(capture)
    print("Auditing what was recorded …", flush=True)
    facts, audited = _describe(capture)
    report.write_text(audited + "\n", encoding="utf-8")
    print(f"\n{facts}\n\n{audited}\n\nDrawing the app …", flush=True)
    pictures = [folder / "network.png", folder / "elements.png"]
    for picture in pictures:
        take(
            Picture(capture, picture.stem, theme if theme in ("light", "dark") else "light", layer=0, expert=0), picture
        )
    for what, path in (("capture", capture), ("audit", report), *(("picture", picture) for picture in pictures)):
        print(f"{what:<8} {path.resolve()}")
    print(f"Open the capture on a machine with a display: moedesk {capture.name}")
    return 0


def record_sample(path: Path) -> None:
    """Record the sample model while it continues the beginning of a text of each domain."""
    # Read when torch is first imported. So small a model is slower on several threads, many times where cores are shared.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import moedesk
    from moedesk.probe.load import load

    model: Any
    model, tokenizer = load("sample")
    texts = sorted(resource("sample", "domains").glob("*/01.txt"))
    with moedesk.record(model, path, tokenizer=tokenizer):
        for text in texts:
            prompt = text.read_text(encoding="utf-8")[:PROMPT]
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


def _describe(path: Path) -> tuple[str, str]:
    """Return what ``moedesk info`` and ``moedesk audit`` say of a capture."""
    from moedesk.analysis.audit import audit
    from moedesk.capture.open import open_capture
    from moedesk.cli import audit as audit_command
    from moedesk.cli import info

    with open_capture(path) as capture:
        return info.as_text(capture), audit_command.as_text(capture.name, audit(capture))
