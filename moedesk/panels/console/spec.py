"""The Console panel: where the model is loaded and run."""

from moedesk.session.panel import PanelSpec

SPEC = PanelSpec(
    id="console",
    title="Console",
    view="moedesk.panels.console.view:ConsolePanel",
    place="drawer",
    order=90,
    icon="console",
    shortcut="Ctrl+`",
    tags=("python", "kernel", "repl", "ipython", "jupyter", "model", "live expression"),
    hint="Load a model, attach it, run it; the panels follow",
    scope="desk",
)
