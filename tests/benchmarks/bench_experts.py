"""The questions of the Experts panel on 48 layers × 512 experts, top-8: python -m tests.benchmarks.bench_experts [FILE] [TOKENS].

Prints milliseconds of CPU time of each question and of what the GUI thread does with the answer. The file is made if it is not
there, and left there.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

import moedesk
from moedesk.panels.experts.model_choice import Choice
from moedesk.panels.experts.model_paths import paths_view
from moedesk.panels.experts.model_share import share_view
from moedesk.panels.experts.model_survey import Surveys
from moedesk.panels.experts.model_tokens import tokens_view
from moedesk.panels.experts.view_paths import PathsCard
from moedesk.panels.experts.view_share import ShareCard
from moedesk.panels.experts.view_survey import SurveyCards
from moedesk.panels.experts.view_tokens import TokenCards
from moedesk.session.jobs import Ticket
from tests.benchmarks.bench_large_capture import generate


def timed(title: str, call: Callable[[], Any]) -> Any:
    """Print how much CPU time a call takes."""
    start = process_time()
    value = call()
    print(f"{1000 * (process_time() - start):9.1f} ms  {title}", flush=True)
    return value


def main(path: Path, tokens: int) -> None:
    """Ask everything about one expert, then about another one of the same layer."""
    if not path.exists():
        generate(path, tokens)
    application = QApplication.instance() or QApplication([])
    with moedesk.open(path) as store:
        print(f"{store.n_passes:,} passes, {store.n_tokens():,} token rows")
        surveys, ticket = Surveys(), Ticket()
        share_card, token_cards, survey_cards, paths_card = ShareCard(), TokenCards(), SurveyCards(), PathsCard()
        for expert in (500, 3):
            choice = Choice(20, expert, 0, store.n_passes)
            view: Any = timed("share", lambda choice=choice: share_view(store, choice))
            timed("  shown", lambda view=view: share_card.set_view(view))
            view = timed("tokens and contexts", lambda choice=choice: tokens_view(store, choice, "strongest", ticket))
            timed("  shown", lambda view=view: token_cards.set_view(view))
            view = timed("survey of the layer", lambda choice=choice: surveys.view(store, choice, ticket))
            timed("  shown", lambda view=view: survey_cards.set_view(view))
            timed("  matrix painted", survey_cards.matrix.grab)
            view = timed("paths", lambda choice=choice: paths_view(store, choice, 2, ticket))
            timed("  shown", lambda view=view: paths_card.set_view(view))
            timed("  painted", paths_card.sankey.grab)
    application.processEvents()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0] if given else "large-experts.h5"), int(given[1]) if len(given) > 1 else 100_000)
