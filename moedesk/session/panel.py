"""What a panel declares about itself, so that menus, tabs and shortcuts exist before its code is loaded."""

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

from moedesk.core.selection import Kind

Place = Literal["top", "drawer", "sidebar"]
Scope = Literal["session", "desk"]


@dataclass(frozen=True)
class PanelSpec:
    """The declaration of a panel.

    Attributes
    ----------
    id : str
        Short name, stable: used in settings, ``--panel`` and reveal targets.
    title : str
        What tab and menu say.
    view : str
        ``module:Class`` of a ``moedesk.ui.panel.Panel``; imported when the panel is first shown.
    place : {"top", "drawer", "sidebar"}
        Where it starts.
    order : int
        Place among its neighbours.
    icon : str
        Name of an icon in ``resources/icons``.
    shortcut : str
        Key sequence that shows it.
    reveals : frozenset of Kind
        Kinds of selection that it can show ("Reveal in …").
    tags : tuple of str
        Further words to find it by.
    hint : str
        One line: what it answers.
    scope : {"session", "desk"}
        Whether there is a view for each session, made with ``(session, shell)``, or one for all, made with ``(desk, shell)``.
    """

    id: str
    title: str
    view: str
    place: Place = "top"
    order: int = 0
    icon: str = ""
    shortcut: str = ""
    reveals: frozenset[Kind] = frozenset()
    tags: tuple[str, ...] = ()
    hint: str = ""
    scope: Scope = "session"


def panel_specs() -> tuple[PanelSpec, ...]:
    """Return every panel's declaration, in order: the built-in ones and those of plug-ins (entry point ``moedesk.panels``)."""
    package = import_module("moedesk.panels")
    specs = [
        import_module(f"{package.__name__}.{module.name}.spec").SPEC
        for module in pkgutil.iter_modules(package.__path__)
        if module.ispkg
    ]
    specs += [entry.load() for entry in entry_points(group="moedesk.panels")]
    return tuple(sorted(specs, key=lambda spec: (spec.order, spec.id)))


def load_view(spec: PanelSpec) -> Any:
    """Import and return the view class of a panel."""
    module, name = spec.view.split(":")
    return getattr(import_module(module), name)
