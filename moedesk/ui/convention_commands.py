"""The commands that choose by which definitions panels show a balance: the same in every session, kept between runs."""

from functools import partial
from typing import TYPE_CHECKING

from moedesk.analysis.conventions import FAMILIES, Conventions, title
from moedesk.analysis.load import METRICS
from moedesk.session.commands import Command
from moedesk.session.session import Session
from moedesk.session.settings import Settings

if TYPE_CHECKING:
    from moedesk.ui.window import Window

_KEY = "conventions"


def kept_conventions(settings: Settings) -> Conventions:
    """Return what was chosen last."""
    return Conventions.from_json(settings.get(_KEY, {}))


def convention_commands(window: "Window") -> list[Command]:
    """Return a command for each definition there is to choose."""
    settings = window.settings

    def choose(key: str) -> None:
        new = kept_conventions(settings).choosing(key)
        settings.set(_KEY, new.to_json())
        sessions: list[Session] = window.files.sessions
        for session in sessions:
            session.choose_conventions(new)

    def is_chosen(key: str, family: str) -> bool:
        return kept_conventions(settings).of(family) == key

    return [
        Command(
            f"convention.{key}",
            f"{title(key)}: {METRICS[key].formula}",
            partial(choose, key),
            menu="View/Conventions",
            group=group,
            checked=partial(is_chosen, key, family),
        )
        for group, (family, keys) in enumerate(FAMILIES.items())
        for key in keys
    ]
