"""The bar above the prompt: which kernel, how it is, and what can be done with it."""

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QToolButton, QWidget

from moedesk.panels.console.model_state import Bar
from moedesk.panels.console.view_button import flat_button
from moedesk.session.kernel import Kernel
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import LIGHT, Theme


class KernelBar(QWidget):
    """Buttons and the choice of kernel.

    Signals
    -------
    chosen : Kernel
        Another kernel was picked.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._theme: Theme = LIGHT
        self._kernels: list[Kernel] = []
        self._bar: Bar | None = None
        self.setObjectName("console_bar")
        self.clear_button = flat_button("Clear the console (Ctrl+L)")
        self.kernels = QComboBox()
        self.kernels.setToolTip("The kernel that runs what you type")
        self.kernels.setAccessibleName("Kernel")
        self.kernels.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.live_button = flat_button("Add a live expression: evaluated 3 times a second while it is on show")
        self.sign = QLabel()
        self.state = ElidedLabel()
        self.interrupt_button = flat_button("Interrupt the running cell (Ctrl+C or Ctrl+.)", "Interrupt")
        self.restart_button = flat_button("Restart", "Restart")
        self.new_button = flat_button("Start or connect to another kernel", "New kernel")
        self.new_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        for button in (self.interrupt_button, self.restart_button, self.new_button):
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._lay_out()
        self.kernels.activated.connect(lambda place: self.chosen.emit(self._kernels[place]))

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 2, 4, 2)
        row.setSpacing(4)
        for widget in (self.clear_button, self.kernels, self.live_button, self.sign):
            row.addWidget(widget)
        row.addWidget(self.state, 1)
        for widget in (self.interrupt_button, self.restart_button, self.new_button):
            row.addWidget(widget)
            widget.setIconSize(QSize(14, 14))

    def set_kernels(self, kernels: Sequence[Kernel], current: Kernel | None) -> None:
        """Say which kernels there are; those of one name are told apart by a number."""
        titles = [kernel.title or "Kernel" for kernel in kernels]
        names = [
            f"{title} · {titles[: place + 1].count(title)}" if titles.count(title) > 1 else title
            for place, title in enumerate(titles)
        ]
        shown = [self.kernels.itemText(place) for place in range(self.kernels.count())]
        self._kernels = list(kernels)
        if names != shown:
            self.kernels.clear()
            self.kernels.addItems(names)
        if current in self._kernels:
            self.kernels.setCurrentIndex(self._kernels.index(current))
        self.kernels.setVisible(bool(names))

    def show_state(self, bar: Bar | None) -> None:
        """Show a kernel's state, or that there is none."""
        self._bar = bar
        for widget in (self.clear_button, self.live_button, self.interrupt_button, self.restart_button, self.sign):
            widget.setVisible(bar is not None)
        if bar is None:
            self.state.setText("No kernel")
            self._color("muted")
            return
        self.state.setText(bar.text)
        self.sign.setToolTip(bar.text)  # the text goes where there is little room
        self.sign.setPixmap(icon(bar.icon, self._theme, bar.role).pixmap(16, 16))
        self._color(bar.role)
        self.interrupt_button.setEnabled(bar.can_interrupt)
        self.restart_button.setEnabled(bar.can_restart)
        self.restart_button.setText(bar.restart_text)
        self.restart_button.setToolTip(bar.restart_hint)

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        signs = ((self.clear_button, "clear"), (self.live_button, "eye"), (self.interrupt_button, "stop"))
        for button, name in (*signs, (self.restart_button, "restart"), (self.new_button, "add")):
            button.setIcon(icon(name, theme))
        self.show_state(self._bar)

    def _color(self, role: str) -> None:
        palette = self.state.palette()
        palette.setColor(QPalette.ColorRole.WindowText, self._theme.color(role))
        self.state.setPalette(palette)
