"""The window's commands for labels and conventions, and what the sample opens on; with real captures."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QFileDialog, QInputDialog
from pytestqt.qtbot import QtBot

from moedesk.analysis.conventions import Conventions
from moedesk.core.label import Label
from moedesk.core.resources import resource
from moedesk.core.selection import Kind, Selection
from moedesk.session.session import Session
from moedesk.session.settings import Settings
from moedesk.ui.opengl import Renderer
from moedesk.ui.window import Window
from tests.support.panels import SPECS


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication) -> Iterator[Window]:
    window = Window(SPECS, Settings(), Renderer(False, "raster"))
    window.show()
    yield window
    window.close()
    window.deleteLater()


def opened(window: Window, qtbot: QtBot) -> Session:
    qtbot.waitUntil(lambda: window.settled and window.files.current is not None)
    assert window.files.current is not None
    return window.files.current


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(resource("sample", "tinymoe.h5"), tmp_path / "run.h5"))


def test_the_sample_opens_on_its_specialist(window: Window, qtbot: QtBot) -> None:
    window.open_sample()
    session = opened(window, qtbot)
    qtbot.waitUntil(lambda: session.selection.kind is Kind.EXPERT)
    layer, expert = session.selection.layer, session.selection.expert
    assert layer is not None
    spanish = next(label for label in session.store.labels if label.name == "spanish")
    rows = session.store.token_span(spanish.first, spanish.last)
    assert (session.store.experts(layer, *rows) == expert).any(1).mean() > 0.9


def test_label_commands(window: Window, qtbot: QtBot, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not next(one for one in window.commands if one.id == "label.add").when()
    window.files.open(capture)
    session = opened(window, qtbot)

    def done(labels: tuple[Label, ...]) -> None:
        qtbot.waitUntil(lambda: session.store.labels[8:] == labels and session.jobs.idle)

    monkeypatch.setattr(QInputDialog, "getItem", lambda *_: ("part", True))
    session.select(Selection(Kind.PASS, pass_id=100))
    window.commands.run("label.add")
    done((Label("part", 100, 101),))
    session.brush((90, 95))
    window.commands.run("label.add")
    done((Label("part", 100, 101), Label("part", 90, 95)))
    csv = capture.with_name("labels.csv")
    csv.write_text("name,first,last\nend,120,129\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(csv), ""))
    window.commands.run("label.file")
    done((Label("part", 100, 101), Label("part", 90, 95), Label("end", 120, 129)))
    window.commands.run("label.remove")
    done((Label("end", 120, 129),))
    window.commands.run("label.undo")
    done((Label("part", 100, 101), Label("part", 90, 95), Label("end", 120, 129)))
    csv.write_text("name,first,last\nend,120,1290\n")
    window.commands.run("label.file")
    qtbot.waitUntil(lambda: "goes on to 1,290" in window.status.currentMessage())


def test_conventions_are_kept(window: Window, qtbot: QtBot, capture: Path) -> None:
    window.files.open(capture)
    session = opened(window, qtbot)
    window.commands.run("convention.cv_sample")
    window.commands.run("convention.kl_uniform")
    chosen = Conventions(cv="cv_sample", entropy_normalized="kl_uniform")
    assert session.conventions == chosen
    checked = {one.id for one in window.commands if one.id.startswith("convention.") and one.checked and one.checked()}
    assert checked == {"convention.cv_sample", "convention.maxvio", "convention.kl_uniform"}
    other = capture.with_name("other.h5")
    shutil.copyfile(capture, other)
    window.files.open(other)
    qtbot.waitUntil(lambda: window.settled and len(window.files.sessions) == 2)
    assert window.files.sessions[1].conventions == chosen
