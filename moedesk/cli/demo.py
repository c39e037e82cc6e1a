"""``moedesk demo``: the sample, in the window; without a display, the main job as files."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moedesk.cli.window import add_window_arguments, open_window
from moedesk.core.resources import resource

if TYPE_CHECKING:
    from moedesk.analysis.specialization import LabelShare

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
    special = _specialist(capture)
    report.write_text(audited + "\n", encoding="utf-8")
    print(f"\n{facts}\n\n{audited}\n\n{_said_of(special)}\n\nDrawing the app …", flush=True)
    pictures = [folder / "network.png", folder / "elements.png"]
    layer, expert = (special.layer.place, special.expert) if special is not None else (0, 0)
    for picture in pictures:
        named = theme if theme in ("light", "dark") else "light"
        take(Picture(capture, picture.stem, named, layer=layer, expert=expert), picture)
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
    with moedesk.record(model, path, tokenizer=tokenizer) as recording:
        for text in texts:
            prompt = text.read_text(encoding="utf-8")[:PROMPT]
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            with recording.label(text.parent.name):
                model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)


def _specialist(path: Path) -> "LabelShare | None":
    """Return the expert that is most of a specialist."""
    from moedesk.analysis.specialization import domain_loads, strongest
    from moedesk.capture.open import open_capture

    with open_capture(path) as capture:
        return strongest(domain_loads(capture))


def _said_of(special: "LabelShare | None") -> str:
    if special is None:
        return "Nothing was recorded with a label."
    low, high = special.interval
    return (
        f"Specialisation: {special.text}: {100 * special.share:.1f} % of its tokens "
        f"(95 %: {100 * low:.1f}–{100 * high:.1f} %, Wilson; even: {100 * special.layer.top_k / special.layer.experts:.1f} %).\n"
        "All labels and experts: moedesk metrics FILE --by domain"
    )


def _describe(path: Path) -> tuple[str, str]:
    """Return what ``moedesk info`` and ``moedesk audit`` say of a capture."""
    from moedesk.analysis.audit import audit
    from moedesk.analysis.finding_text import as_text
    from moedesk.capture.open import open_capture
    from moedesk.cli import info

    with open_capture(path) as capture:
        return info.as_text(capture), as_text(capture.name, audit(capture))
