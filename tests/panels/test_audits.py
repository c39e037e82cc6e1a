"""The Audits panel, driven by mouse and keyboard, over the samples and over stores of which the audit is known."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from moedesk.analysis.audit import audit
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.errors import CaptureError
from moedesk.core.resources import resource
from moedesk.core.selection import Kind, Selection
from moedesk.panels.audits.model_findings import Entry, with_entries
from moedesk.panels.audits.model_targets import Target
from moedesk.panels.audits.spec import SPEC
from moedesk.panels.audits.view import AuditsPanel
from moedesk.session.panel import load_view, panel_specs
from moedesk.ui.theme import DARK
from tests.support.memory_store import MemoryStore, memory_store
from tests.support.routing import random_batch, random_model
from tests.support.stage import Stage
from tests.support.until import PATIENCE

LEFT = Qt.MouseButton.LeftButton
Key = Qt.Key


@pytest.fixture
def sick(qtbot: QtBot) -> Iterator[Stage]:
    with Stage(qtbot, open_capture(resource("sample", "tinymoe-sick.h5")), AuditsPanel) as stage:
        yield stage


class HeldStore(MemoryStore):
    """A store whose tokens are read only once ``go`` is set."""

    go: threading.Event
    fails = False

    def read_tokens(self, i: int = 0, j: int | None = None, stream: str | None = None) -> Any:
        assert self.go.wait(PATIENCE)
        if self.fails:
            raise CaptureError("the disk is gone")
        return super().read_tokens(i, j, stream)


@pytest.fixture
def held() -> HeldStore:
    store = HeldStore(**vars(memory_store()))
    store.go = threading.Event()
    return store


def rows(stage: Stage) -> list[list[str]]:
    """Every finding in the list, by its id, under each heading."""
    return [
        [entry.finding.id for entry in group.entries if isinstance(entry, Entry)]
        for group in stage.panel.list.rows.groups
        if group.key not in ("passed", "not judged")
    ]


def found(stage: Stage) -> set[str]:
    """The ids of all findings in the list."""
    return {name for group in rows(stage) for name in group}


def choose(stage: Stage, check: str) -> Entry:
    """Click the first finding of a check."""
    entry = next(entry for entry in stage.panel.entries if entry.finding.id == check)
    view = stage.panel.list
    index = view.rows.index_of(entry.number)
    view.scrollTo(index)
    stage.qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(index.siblingAtColumn(1)).center())
    stage.settle()
    return entry


def test_the_declaration_loads() -> None:
    spec = next(spec for spec in panel_specs() if spec.id == "audits")
    assert spec == SPEC
    assert load_view(spec) is AuditsPanel


def test_a_capture_is_audited_when_it_is_first_shown(sick: Stage) -> None:
    report = audit(sick.session.store)
    panel = sick.panel
    assert panel.audited is not None
    assert panel.audited.report == report
    severities = [found.severity for found in report.findings]
    assert [len(group) for group in rows(sick)] == [
        severities.count(name) for name in ("error", "warning", "info") if name in severities
    ]
    assert panel.scores.gauges[0].score.value == report.score
    assert panel.bar.run_button.text() == "Audit again"
    assert panel.details.title.text() == report.findings[0].title, "the worst one is explained at once"
    assert sick.session.selection.kind is Kind.NOTHING, "but nothing is selected by that"


def test_a_healthy_capture_says_so(qtbot: QtBot) -> None:
    with Stage(qtbot, open_capture(resource("sample", "tinymoe.h5")), AuditsPanel) as stage:
        assert not [found for found in stage.panel.entries if found.finding.severity != "info"]
        assert stage.panel.scores.gauges[0].accessibleName() == "Total: 100 of 100, good"


def test_a_chosen_finding_is_selected_and_explained(sick: Stage) -> None:
    entry = choose(sick, "dead-expert")
    details = sick.panel.details
    assert sick.session.selection == Selection(Kind.EXPERT, layer=entry.place, expert=entry.finding.expert)
    assert details.title.text() == entry.finding.title
    assert "Warning" in details.meta.text()
    assert details.advice.text() == entry.finding.advice
    assert details.threshold.text() == entry.finding.threshold_source
    shown = {
        details.table.item(row, 0).text(): details.table.item(row, 1).text() for row in range(details.table.rowCount())
    }
    assert shown["Slots of the expert"] == "0"
    assert shown["Slots of the layer"] == f"{sick.session.store.counts(entry.place).sum():,}"


def test_evidence_opens_where_it_is_seen(sick: Stage) -> None:
    entry = choose(sick, "dead-expert")
    expert = Selection(Kind.EXPERT, layer=entry.place, expert=entry.finding.expert)
    table = sick.panel.details.table
    sick.qtbot.mouseClick(table.viewport(), LEFT, pos=table.visualItemRect(table.item(0, 1)).center())
    assert sick.shell.revealed == [(expert, "elements")]
    table.setFocus()
    sick.qtbot.keyClick(table, Key.Key_Return)
    assert sick.shell.revealed == [(expert, "elements")] * 2


def test_double_click_and_enter_open_a_finding(sick: Stage) -> None:
    choose(sick, "dead-expert")
    view = sick.panel.list
    sick.qtbot.keyClick(view, Key.Key_Return)
    assert [panel for _, panel in sick.shell.revealed] == ["elements"]
    center = view.visualRect(view.currentIndex().siblingAtColumn(1)).center()
    sick.qtbot.mouseDClick(view.viewport(), LEFT, pos=center)
    assert [panel for _, panel in sick.shell.revealed] == ["elements"] * 2
    sick.panel.details.door.click()
    assert [panel for _, panel in sick.shell.revealed] == ["elements"] * 3


def test_the_arrow_keys_walk_through_the_findings(sick: Stage) -> None:
    view = sick.panel.list
    view.setFocus()
    titles = [sick.panel.details.title.text()]
    for _ in range(5):
        sick.qtbot.keyClick(view, Key.Key_Down)
        if view.current is not None:
            titles.append(sick.panel.details.title.text())
    assert titles[:4] == [entry.finding.title for entry in sick.panel.entries][:4]


def test_a_target_narrows_by_filter_and_brush(sick: Stage) -> None:
    sick.panel.open_target(Target("network", Selection(Kind.LAYER, layer=2), "layer:2 margin<0.01", (3, 9)))
    session = sick.session
    assert session.filter.to_text() == "layer:2 margin<0.01"
    assert session.window == (3, 9)
    assert session.selection.layer == 2
    assert sick.shell.revealed[-1][1] == "network"
    assert "clears it" in sick.shell.said[-1]


def test_what_is_selected_elsewhere_is_marked(sick: Stage) -> None:
    model = sick.panel.list.rows

    def marked() -> set[str]:
        return {
            entry.finding.id
            for entry in sick.panel.entries
            if model.data(model.index_of(entry.number).siblingAtColumn(2)).startswith("●")
        }

    assert not marked()
    sick.session.select(Selection(Kind.EXPERT, layer=3, expert=5))
    assert "collapse" in marked()
    assert "dead-expert" not in marked()
    sick.session.select(Selection(Kind.LAYER, layer=1))
    assert "dead-expert" in marked()
    assert "collapse" not in marked()


def test_text_severity_category_and_layer_narrow_the_list(sick: Stage) -> None:
    filters = sick.panel.filters
    everything = rows(sick)
    sick.qtbot.keyClicks(filters.text, "1.11")
    assert rows(sick) == [["dead-expert"]]
    assert not sick.panel.no_match.isVisible()
    filters.text.setText("no such thing")
    assert rows(sick) == []
    assert sick.panel.no_match.isVisible()
    sick.qtbot.keyClick(filters.text, Key.Key_Escape)
    assert rows(sick) == everything
    assert not sick.panel.no_match.isVisible()
    filters.severities["warning"].click()
    assert "dead-expert" not in found(sick)
    filters.clear()
    assert rows(sick) == everything
    gauge = next(gauge for gauge in sick.panel.scores.gauges if gauge.score.key == "router")
    gauge.click()
    assert {entry.category for group in sick.panel.list.rows.groups for entry in group.entries} == {
        "router"
    }  # also of checks without findings
    assert gauge.isChecked()
    gauge.click()
    assert rows(sick) == everything
    filters.layer.setCurrentIndex(filters.layer.findData(3))
    assert "collapse" in found(sick)
    assert "dead-expert" not in found(sick)


def test_a_click_on_a_heading_sorts(sick: Stage) -> None:
    header = sick.panel.list.header()
    where = [header.sectionViewportPosition(2) + 10, header.height() // 2]

    def places() -> list[list[int]]:
        return [
            [-1 if entry.place is None else entry.place for entry in group.entries]
            for group in sick.panel.list.rows.groups
        ]  # type: ignore[union-attr]

    sick.panel.filters.severities["info"].click()  # where all is shown, checks without findings follow
    for reverse in (False, True):
        sick.qtbot.mouseClick(header.viewport(), LEFT, pos=type(header.pos())(*where))
        assert all(group == sorted(group, reverse=reverse) for group in places())
    state = sick.panel.save_state()
    assert state["sort"] == ["where", True]


def test_a_closed_group_stays_closed_and_the_current_finding_current(sick: Stage) -> None:
    entry = choose(sick, "undecided-router")
    view = sick.panel.list
    view.collapse(view.rows.index(0, 0))
    sick.panel.filters.text.setText("1")
    sick.panel.filters.text.clear()
    assert not view.isExpanded(view.rows.index(0, 0))
    assert view.isExpanded(view.rows.index(1, 0))
    assert view.current is not None
    assert view.current.number == entry.number


def test_checks_without_findings_are_listed_closed_and_say_why(sick: Stage) -> None:
    view = sick.panel.list
    last = view.rows.rowCount() - 1
    assert view.rows.data(view.rows.index(last - 1, 0)).endswith("checks found nothing")
    heading = view.rows.index(last, 0)
    assert view.rows.data(heading).endswith("checks could not judge")
    assert not view.isExpanded(heading)
    before = sick.session.selection
    view.setExpanded(heading, True)
    view.setCurrentIndex(view.rows.index(0, 0, heading))
    assert sick.panel.details.hint.text().startswith("Not judged: ")
    assert not sick.panel.details.table.isVisible()
    assert sick.session.selection == before


def test_copy_and_save(sick: Stage, tmp_path: Path) -> None:
    report = audit(sick.session.store).to_json()
    sick.panel.copy("json")
    assert json.loads(QGuiApplication.clipboard().text()) == report
    sick.panel.copy("text")
    assert QGuiApplication.clipboard().text().startswith("tinymoe-sick.h5\n")
    entry = choose(sick, "collapse")
    menu = QMenu()
    sick.panel.fill_menu(menu, entry)
    assert "Reveal expert 3.5 in Elements" in [action.text() for action in menu.actions()]
    menu.actions()[0].trigger()
    assert QGuiApplication.clipboard().text().startswith(f"Error: {entry.finding.title}")
    menu.deleteLater()
    sick.panel.save_to(tmp_path / "audit.json")
    assert json.loads((tmp_path / "audit.json").read_text()) == report
    sick.panel.save_to(tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Layer 3 sends 99.9% of its tokens to expert 5" in page
    sick.panel.save_to(tmp_path / "none" / "audit.json")
    assert sick.shell.said[-1].startswith("audit.json was not saved: No such file")


def test_a_running_audit_can_be_cancelled_and_asked_for_again(qtbot: QtBot, held: HeldStore) -> None:
    stage = Stage(qtbot, held, AuditsPanel)
    panel = stage.panel
    try:
        assert panel.bar.cancel_button.isVisible()
        assert not panel.start_button.isVisible()
        assert panel.empty.text() == "Auditing …"
        answered: list[int] = []
        stage.session.jobs.latest("other", lambda _: held.n_passes, answered.append)
        qtbot.waitUntil(lambda: answered == [held.n_passes])
        panel.bar.cancel_button.click()
        assert panel.empty.text().startswith("Cancelled at 0 %")
        assert panel.start_button.isVisible()
        held.go.set()
        stage.settle()
        assert panel.audited is None, "what was cancelled brings nothing"
        panel.start_button.click()
        qtbot.waitUntil(lambda: panel.audited is not None)
        assert panel.bar.run_button.isVisible()
    finally:
        held.go.set()
        stage.__exit__()


def test_an_audit_that_fails_says_why_and_can_be_tried_again(qtbot: QtBot, held: HeldStore) -> None:
    held.go.set()
    held.fails = True
    with Stage(qtbot, held, AuditsPanel) as stage:
        panel = stage.panel
        assert panel.empty.text() == "The audit failed: the disk is gone"
        assert panel.start_button.text() == "Try again"
        held.fails = False
        panel.start_button.click()
        stage.settle()
        assert panel.audited is not None
        held.fails = True
        panel.run()
        stage.settle()
        assert panel.bar.line.text().startswith("The audit failed: the disk is gone")
        assert panel.list.isVisible(), "what was found before stays"


class FakeLive:
    """A running model, as far as the panel asks."""

    ended = ""
    attached = recording = True

    def close(self) -> None:
        """Nothing runs here."""


def test_a_live_session_is_audited_when_asked_and_says_what_came_since(qtbot: QtBot, tmp_path: Path) -> None:
    model = random_model(layers=2)
    with CaptureWriter(tmp_path / "live.h5") as writer:
        store = writer.live()
        stage = Stage(qtbot, store, AuditsPanel)
        stage.session.live = FakeLive()  # type: ignore[assignment]
        panel = stage.panel
        assert panel.empty.text().startswith("No passes yet")
        assert not panel.bar.isVisible()
        writer.describe(model)
        for passes, said in ((3, "Run audit"), (8, "Audit again: 5 new passes")):
            for number in range(store.n_passes, passes):
                writer.append(random_batch((1, number), model, 20))
            writer.flush()
            store.publish()
            stage.session.changed.emit("store")
            stage.settle()
            assert panel.audited is None or panel.audited.passes < passes, "not before it is asked for"
            button = panel.start_button if panel.start_button.isVisible() else panel.bar.run_button
            assert button.text() == said
            button.click()
            stage.settle()
            assert panel.audited is not None, panel.empty.text()
            assert panel.audited.passes == passes
        assert panel.bar.run_button.text() == "Audit again"
        stage.__exit__()


def test_hundreds_of_findings_in_the_dark(sick: Stage) -> None:
    panel = sick.panel
    audited = panel.audited
    assert audited is not None
    found = audited.report.findings
    many = tuple(replace(found[n % len(found)], title=f"Number {n}") for n in range(600))
    panel._done(with_entries(replace(audited, report=replace(audited.report, findings=many))))
    panel.set_theme(DARK)
    panel.filters.set_grouping("layer")
    assert sum(len(group) for group in rows(sick)) == 600
    panel.filters.text.setText("number 599")
    assert sum(len(group) for group in rows(sick)) == 1


def test_state_is_restored_and_what_does_not_fit_is_left(sick: Stage) -> None:
    panel = sick.panel
    panel.restore_state({"group": "category", "sort": ["confidence", True], "sizes": [300, 700]})
    assert (panel.filters.grouping, panel.save_state()["sort"]) == ("category", ["confidence", True])
    panel.restore_state({"group": 7, "sort": ["nothing"], "sizes": "wide"})
    assert (panel.filters.grouping, panel.save_state()["sort"]) == ("category", ["confidence", True])
