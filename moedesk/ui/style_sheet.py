"""The style sheet on top of Qt's Fusion style: flat areas and thin lines, as in DevTools."""

from string import Template

from moedesk.core.resources import resource
from moedesk.ui.theme import Theme

_TEMPLATE = Template("""
QMainWindow::separator { background: $border; width: 1px; height: 1px; }
QMainWindow::separator:hover { background: $accent; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 3px; }
QMenuBar { background: $background; border-bottom: 1px solid $border; }
QMenuBar::item { padding: 3px 8px; background: transparent; }
QMenuBar::item:selected { background: $hover; }
QMenu { background: $surface; border: 1px solid $border; padding: 3px; }
QMenu::item { padding: 4px 24px 4px 22px; }
QMenu::item:selected { background: $selection; color: $selection_text; }
QMenu::item:disabled { color: $muted; }
QMenu::separator { height: 1px; background: $border; margin: 3px 0; }
QStatusBar { background: $background; border-top: 1px solid $border; }
QStatusBar::item { border: none; }
QStatusBar QLabel { color: $muted; padding: 0 4px; }
QTabBar { background: $background; }
QTabBar::tab { background: transparent; color: $muted; padding: 4px 10px; border: none; border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: $accent; border-bottom: 2px solid $accent; }
QTabBar::tab:hover:!selected { background: $hover; color: $text; }
QTabBar::close-button { image: url("$close_icon"); subcontrol-position: right; width: 12px; height: 12px; margin: 2px; }
QTabBar::close-button:hover { background: $hover; border-radius: 6px; }
QWidget#panel_title { background: $background; border-bottom: 1px solid $border; }
QLabel#panel_failure { color: $error; padding: 8px; }
QWidget#transport, QWidget#session_bar { background: $background; }
QWidget#transport { border-top: 1px solid $border; }
QToolButton { border: 1px solid transparent; border-radius: 4px; padding: 2px; color: $text; }
QToolButton:hover { background: $hover; }
QToolButton:pressed, QToolButton:checked { background: $selection; color: $selection_text; }
QToolButton:focus { border-color: $focus; }
QPushButton { background: $raised; border: 1px solid $border; border-radius: 4px; padding: 5px 12px; color: $text; }
QPushButton:hover { background: $hover; }
QPushButton:pressed { background: $selection; color: $selection_text; }
QPushButton:focus { border-color: $focus; }
QPushButton:default { background: $accent; color: $accent_text; border-color: $accent; }
QPushButton:disabled, QPushButton:default:disabled { background: $raised; color: $muted; border-color: $border; }
QLineEdit { background: $surface; border: 1px solid $border; border-radius: 4px; padding: 3px 5px; color: $text;
  selection-background-color: $selection; selection-color: $selection_text; }
QLineEdit:focus { border-color: $focus; }
QHeaderView::section { background: $raised; color: $text; border: none; border-right: 1px solid $border;
  border-bottom: 1px solid $border; padding: 3px 5px; }
QTableView, QTreeView, QListView { background: $surface; border: none; gridline-color: $grid;
  selection-background-color: $selection; selection-color: $selection_text; }
QCheckBox { spacing: 5px; }
QCheckBox::indicator, QTableView::indicator { width: 12px; height: 12px; border: 1px solid $muted; border-radius: 2px;
  background: $surface; }
QCheckBox::indicator:checked, QTableView::indicator:checked { background: $accent; border-color: $accent;
  image: url("$check_icon"); }
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $focus; }
QSplitter::handle { background: $border; }
QSplitter::handle:horizontal { width: 1px; }
QSplitter::handle:vertical { height: 1px; }
QScrollArea { border: none; }
""")


def style_sheet(theme: Theme) -> str:
    """Return the application's style sheet in the colours of a theme."""
    colors = {name: value for name, value in vars(theme).items() if isinstance(value, str)}
    icons = {f"{name}_icon": resource("icons", f"{name}-{theme.name}.svg").as_posix() for name in ("check", "close")}
    return _TEMPLATE.substitute(colors, **icons)
