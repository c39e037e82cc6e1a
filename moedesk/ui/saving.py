"""Keeping what a live session recorded: save in the background, and ask before anything unsaved goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QMessageBox, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.session.jobs import Jobs, Ticket
from moedesk.session.session import Session
from moedesk.session.settings import Settings
from moedesk.ui.delivery import Delivery
from moedesk.ui.dialogs import ask_new_capture
from moedesk.ui.message_bar import MessageBar

Answer = Literal["save", "discard", "cancel"]


class Saving(QObject):
    """Saves sessions, one after another, while the window goes on.

    Parameters
    ----------
    window : QWidget
        What dialogs belong to.
    settings : Settings
    delivery : Delivery
    messages : MessageBar
    say : callable
        Shows progress in the status bar.
    saved : callable
        Takes session and file when a save is done.
    """

    def __init__(
        self,
        window: QWidget,
        settings: Settings,
        delivery: Delivery,
        messages: MessageBar,
        say: Callable[[str], None],
        saved: Callable[[Session, Path], None],
    ) -> None:
        super().__init__(window)
        self._window, self._settings, self._messages = window, settings, messages
        self._say, self._saved = say, saved
        self._jobs = Jobs(delivery)
        self._running: dict[Session, Ticket] = {}

    @property
    def busy(self) -> bool:
        """Whether a save is under way."""
        return bool(self._running)

    def save(self, session: Session, then: Callable[[], None] = lambda: None) -> None:
        """Ask for a file name, save, and go on with ``then`` if that went well."""
        path = self.ask_path(session)
        if path is not None:
            self.save_to(session, path, then)

    def save_to(self, session: Session, path: Path, then: Callable[[], None] = lambda: None) -> None:
        """Save into a file, compressed, in the background."""
        store, held = session.store, session.holding

        def work(ticket: Ticket) -> None:
            from moedesk.capture.save import save_capture

            save_capture(store, path, ticket.check)  # type: ignore[arg-type]  # a session's store is one of the two

        def done(_: None) -> None:
            self._running.pop(session, None)
            session.take_saved(held)
            self._say(f"Saved {held.passes:,} passes to {path.name}")
            self._saved(session, path)
            then()

        def failed(error: Exception) -> None:
            self._running.pop(session, None)
            said = str(error) if isinstance(error, (MoedeskError, OSError)) else f"{type(error).__name__}: {error}"
            self._messages.show_message(f"{path.name} was not saved: {said}; nothing is lost, save it elsewhere")

        def progress(share: float) -> None:
            self._say(f"Saving {path.name} … {share:.0%}")

        self._say(f"Saving {path.name} …")
        self._running[session] = self._jobs.latest(f"save:{id(session)}", work, done, failed, progress)

    def cancel(self) -> None:
        """Give up the saves under way; the sessions stay as they are."""
        self._jobs.cancel("save:")
        self._running.clear()
        self._say("Saving was given up; the session is still unsaved")

    def close(self, session: Session, go_on: Callable[[], None]) -> None:
        """Go on at once if nothing is unsaved, else as the user answers."""
        if not session.unsaved:
            go_on()
            return
        answer = self.ask_unsaved([session])
        if answer == "save":
            self.save(session, go_on)
        elif answer == "discard":
            go_on()

    def close_all(self, sessions: list[Session], go_on: Callable[[], None]) -> bool:
        """Return whether everything may go at once; else ask, and call ``go_on`` when all is saved."""
        unsaved = [session for session in sessions if session.unsaved]
        if not unsaved:
            return True
        answer = self.ask_unsaved(unsaved)
        if answer == "save":
            paths = [(session, self.ask_path(session)) for session in unsaved]
            if all(path is not None for _, path in paths):
                waiting = {session for session, _ in paths}

                def one_done(session: Session) -> None:
                    waiting.discard(session)
                    if not waiting:
                        go_on()

                for session, path in paths:
                    assert path is not None
                    self.save_to(session, path, lambda session=session: one_done(session))  # type: ignore[misc]
        return answer == "discard"

    def ask_unsaved(self, sessions: list[Session]) -> Answer:
        """Ask what to do with what is not saved."""
        names = ", ".join(f"{session.title} ({session.unsaved})" for session in sessions[:4])
        more = f" and {len(sessions) - 4} more" if len(sessions) > 4 else ""
        box = QMessageBox(QMessageBox.Icon.Warning, "moedesk", f"Not saved: {names}{more}.", parent=self._window)
        box.setInformativeText("Save what was recorded as a capture, or throw it away?")
        box.setStandardButtons(
            QMessageBox.StandardButton.Save | QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel
        )
        box.setDefaultButton(QMessageBox.StandardButton.Save)
        pressed = box.exec()
        box.deleteLater()
        answers: dict[int, Answer] = {
            QMessageBox.StandardButton.Save: "save",
            QMessageBox.StandardButton.Discard: "discard",
        }
        return answers.get(pressed, "cancel")

    def ask_path(self, session: Session) -> Path | None:
        """Ask where to save; None if the user would rather not."""
        return ask_new_capture(self._window, self._settings, session.title)

    def shut_down(self) -> None:
        """Give up what is under way; waits for the worker."""
        self._jobs.close()
