"""The Compare panel: what is compared, the verdict, and what differs where."""

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QLabel, QSplitter, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.selection import Kind, Selection
from moedesk.panels.compare.model import Comparison, LayerPair, Question, compare
from moedesk.panels.compare.model_copy import as_csv, as_json, command_line
from moedesk.panels.compare.model_layers import layer_rows
from moedesk.panels.compare.model_margins import margin_plot, margin_text
from moedesk.panels.compare.spec import SPEC
from moedesk.panels.compare.view_choice import ChoiceBar
from moedesk.panels.compare.view_layers import LayerTable
from moedesk.panels.compare.view_margins import MarginChart
from moedesk.panels.compare.view_tokens import TokensTab
from moedesk.panels.compare.view_verdict import VerdictView
from moedesk.session.session import Session
from moedesk.ui.beside import watch
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.load_chart import LoadChart
from moedesk.ui.load_pair import LoadPair
from moedesk.ui.panel import Panel, Shell
from moedesk.ui.theme import Theme

EMPTY = (
    "Compare this routing with another capture of the same texts: another precision, batch, engine or checkpoint.\n"
    "Choose an open one above, open one there, or drop an .h5 file here."
)
_TABS = (
    "Flips of the chosen layer against the margin: noise flips near ties, logic anything",
    "Share of slots of each expert of the chosen layer, in A and B",
    "The aligned texts, with the tokens that flip",
)


class ComparePanel(Panel):
    """Compares the session with another one."""

    def __init__(self, session: Session, shell: Shell, parent: QWidget | None = None) -> None:
        super().__init__(session, shell, parent)
        self.other: Session | None = None
        self.comparison: Comparison | None = None
        self._swapped = False
        self._wanted: Path | None = None
        self._running = False
        self.choice = ChoiceBar()
        self.verdict = VerdictView()
        self.layers = LayerTable()
        self.tabs = QTabWidget()
        self.margin_text, self.margins, self.load = ElidedLabel(), MarginChart(), LoadChart()
        self.tokens = TokensTab(session)
        self.empty = QLabel(EMPTY)
        self._lay_out()
        self._connect()
        self.setAcceptDrops(True)
        self._show(None)
        self._offer()

    def _lay_out(self) -> None:
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setTextFormat(Qt.TextFormat.PlainText)
        self.empty.setMargin(12)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self.layers)
        self.splitter.addWidget(self.tabs)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setSizes([480, 520])
        margins = QWidget()
        column = QVBoxLayout(margins)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.margin_text)
        column.addWidget(self.margins, 1)
        self.margin_text.setContentsMargins(8, 4, 8, 2)
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(margins, "Margins")
        self.tabs.addTab(self.load, "Load")
        self.tabs.addTab(self.tokens, "Tokens")
        for place, hint in enumerate(_TABS):
            self.tabs.setTabToolTip(place, hint)
        found = QWidget()
        column = QVBoxLayout(found)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.verdict)
        column.addWidget(self.splitter, 1)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.empty)
        self._pages.addWidget(found)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.choice)
        column.addWidget(self._pages, 1)

    def _connect(self) -> None:
        watch(self.shell.beside, self, self._others_changed)
        self.choice.chosen.connect(self.compare_with)
        self.choice.open_asked.connect(self.open)
        self.choice.swap_asked.connect(self.swap)
        self.choice.again_asked.connect(self.compare)
        self.choice.cancel_asked.connect(self.cancel)
        self.choice.precision_changed.connect(self.compare)
        self.choice.copy_asked.connect(self.copy)
        self.verdict.picked.connect(self._pick_path)
        self.layers.picked.connect(self._pick_layer)
        self.tokens.layer_picked.connect(self._pick_layer)
        self.load.picked.connect(self._pick_expert)

    # What is asked

    def compare_with(self, other: Session | None) -> None:
        """Compare the session with another one, or with none."""
        self.other = other
        self._wanted = None
        self._offer()
        self.compare()

    def open(self, path: Path | None) -> None:
        """Open a capture, or let the user pick one, and compare with it."""
        if path is None:
            path = self.shell.beside.ask()
        else:
            self.shell.beside.open(path)
        self._wanted = path
        self._offer()
        self._take_wanted()

    def swap(self) -> None:
        """Make A what was B."""
        self._swapped = not self._swapped
        self.choice.set_swapped(self._swapped)
        self.compare()

    def copy(self, form: str) -> None:
        """Put the comparison on the clipboard as ``json``, ``csv``, or the ``command`` that makes it."""
        comparison = self.comparison
        if comparison is None or self.other is None:
            return
        paths = [None if session.scratch else session.path for session in (self.session, self.other)]
        text = {
            "json": lambda: as_json(comparison),
            "csv": lambda: as_csv(comparison),
            "command": lambda: command_line(comparison, *paths),
        }[form]()
        if text is None:
            self.shell.say("Nothing copied: save the live session first (Ctrl+S), so that there is a file to compare.")
            return
        QGuiApplication.clipboard().setText(text)
        self.shell.say("Copied the command line." if form == "command" else f"Copied the difference as {form.upper()}.")

    def cancel(self) -> None:
        """Stop comparing."""
        self.session.jobs.cancel(f"{SPEC.id}/diff")
        self._stopped("Cancelled. Choose what to compare with, or compare again.")

    def compare(self) -> None:
        """Ask for the difference."""
        self._show(None)
        if self.other is None:
            self.session.jobs.cancel(f"{SPEC.id}/diff")
            self._stopped(EMPTY)
            return
        other = self.other
        question = Question(self.session.store, other.store, self._swapped, self.choice.precision.currentData())
        self._running = True
        self.choice.set_running(0.0)
        self.choice.set_again(False)
        self.empty.setText(f"Comparing {question.a.name} with {question.b.name} …")
        self.session.jobs.latest(
            f"{SPEC.id}/diff",
            lambda ticket: compare(question, ticket),
            self._compared,
            self._failed,
            self.choice.set_running,
        )

    # What comes of it

    def _compared(self, comparison: Comparison) -> None:
        self._running = False
        self.choice.set_running(None)
        if self.other is not None:
            self.shell.beside.note(self.session, self.other)
        self._show(comparison)
        self._offer_again()

    def _failed(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, MoedeskError) else f"The captures could not be read: {error}"
        self._stopped(reason)

    def _stopped(self, text: str) -> None:
        self._running = False
        self.choice.set_running(None)
        self.choice.set_again(self.other is not None)
        self.empty.setText(text)

    def _show(self, comparison: Comparison | None) -> None:
        self.comparison = comparison
        self._pages.setCurrentIndex(0 if comparison is None else 1)
        self.choice.copy.setEnabled(comparison is not None)
        self.verdict.set_comparison(comparison)
        self.layers.set_rows(() if comparison is None else layer_rows(comparison))
        self.tokens.set_comparison(comparison)
        self._follow_selection()

    @property
    def pair(self) -> LayerPair | None:
        """The layer on show: the selected one, else the first place to look, else the first."""
        if self.comparison is None:
            return None
        evidence = self.comparison.found.judgement.evidence
        pairs = (
            self.comparison.pair_of(self.session.selection.layer),
            self.comparison.pair_at(evidence[0].layer) if evidence else None,
            *self.comparison.pairs,
        )
        return next((pair for pair in pairs if pair is not None), None)

    def _follow_selection(self) -> None:
        pair = self.pair
        self.layers.set_layer(pair.mine if pair is not None else None)
        self.tokens.follow()
        if pair is None or self.comparison is None:
            return
        selection = self.session.selection
        self.margins.set_plot(margin_plot(pair.layer, self.comparison.found.judgement.precision))
        self.margin_text.setText(f"L{pair.mine} ({pair.path}). {margin_text(pair.layer, self.comparison.found.spared)}")
        self.load.set_pair(LoadPair.of(pair.layer.counts_a, pair.layer.counts_b))
        self.load.set_expert(selection.expert if selection.layer == pair.mine else None)

    # Other sessions

    def _others_changed(self, _: Session) -> None:
        others = self.shell.beside.others(self.session)
        if self.other is not None and self.other not in others:
            name = self.other.title
            self.other = None
            self.session.jobs.cancel(f"{SPEC.id}/diff")
            self._show(None)
            self._stopped(f"{name} was closed. Choose what to compare with.")
        self._offer()
        self._take_wanted()

    def _take_wanted(self) -> None:
        for other in self.shell.beside.others(self.session):
            if self._wanted is not None and other.path == self._wanted.absolute():
                self.compare_with(other)

    def _offer(self) -> None:
        self.choice.mine.setText(self.session.title)
        beside = self.shell.beside
        self.choice.set_others(beside.others(self.session), self.other, beside.recent(self.session))

    def _offer_again(self) -> None:
        if self.comparison is not None and not self._running:
            outdated = self.comparison.outdated
            self.choice.set_again(outdated, "Passes came since: compare what there is now")

    # The panel

    def refresh(self, changed: frozenset[str]) -> None:
        """Follow the selection; say when what is shown is outdated."""
        if "selection" in changed:
            self._follow_selection()
        if changed & {"store", "live"}:
            self._offer_again()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.verdict.set_theme(theme)
        self.layers.set_theme(theme)
        self.tokens.set_theme(theme)
        for chart in (self.margins, self.load):
            chart.theme = theme
            chart.update()

    def save_state(self) -> dict[str, object]:
        """Return the splitter's sizes and the tab in front."""
        return {"sizes": self.splitter.sizes(), "tab": self.tabs.currentIndex()}

    def restore_state(self, state: dict[str, object]) -> None:
        """Take over sizes and tab."""
        sizes, tab = state.get("sizes"), state.get("tab")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
            self.splitter.setSizes(sizes)
        if isinstance(tab, int) and 0 <= tab < self.tabs.count():
            self.tabs.setCurrentIndex(tab)

    def _pick_path(self, path: str) -> None:
        pair = self.comparison.pair_at(path) if self.comparison is not None else None
        if pair is not None:
            self._pick_layer(pair.mine)

    def _pick_layer(self, layer: int) -> None:
        self.session.select(Selection(Kind.LAYER, layer=layer))

    def _pick_expert(self, expert: int) -> None:
        if self.pair is not None:
            self.session.select(Selection(Kind.EXPERT, layer=self.pair.mine, expert=expert))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept a capture."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Compare with what was dropped."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            self.open(paths[0])
            event.acceptProposedAction()
