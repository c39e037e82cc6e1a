"""The direction of imports, checked at run time: what loads when a name is first used."""

import subprocess
import sys

import pytest


def loaded_after(code: str) -> set[str]:
    """Return the top-level names of every module that a fresh interpreter has loaded after running ``code``."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


HEAVY = {"torch", "transformers", "PySide6", "pyqtgraph", "qtconsole", "OpenGL"}


def test_importing_moedesk_loads_nothing_heavy() -> None:
    assert not loaded_after("import moedesk") & (HEAVY | {"numpy", "h5py"})


def test_help_is_shown_without_qt_numpy_or_h5py() -> None:
    code = (
        "import contextlib, moedesk.cli.main\nwith contextlib.suppress(SystemExit): moedesk.cli.main.main(['--help'])"
    )
    assert not loaded_after(code) & (HEAVY | {"numpy", "h5py"})


@pytest.mark.parametrize(
    "code",
    [
        "import moedesk; moedesk.open",
        "import moedesk.session.session, moedesk.session.jobs, moedesk.session.settings",
        "from moedesk.session.panel import panel_specs; panel_specs()",
        "import moedesk.analysis.heatmap, moedesk.analysis.search, moedesk.analysis.audit",
    ],
)
def test_below_ui_neither_qt_nor_torch_is_loaded(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_opening_a_capture_loads_neither_torch_nor_qt() -> None:
    code = (
        "import moedesk\n"
        "from moedesk.core.resources import resource\n"
        "with moedesk.open(resource('sample', 'tinymoe.h5')) as cap: cap.counts(0); cap.text(0, 5)"
    )
    assert not loaded_after(code) & HEAVY


def test_the_app_with_every_panel_never_loads_torch() -> None:
    code = (
        "import moedesk.ui.app\n"
        "from moedesk.session.panel import load_view, panel_specs\n"
        "[load_view(spec) for spec in panel_specs()]"
    )
    assert not loaded_after(code) & {"torch", "transformers"}
