"""The bar that says which expert is shown, and takes another."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QWidget

from moedesk.core.errors import MoedeskError
from moedesk.core.model import ModelInfo
from moedesk.panels.experts.model_choice import stepped, typed
from moedesk.session.overridden import Overridden
from moedesk.ui.elided_label import ElidedLabel
from moedesk.ui.icons import icon
from moedesk.ui.theme import Theme

STEPS = (
    ("left", "Previous expert (Alt+Left)", "Alt+Left", (0, -1)),
    ("right", "Next expert (Alt+Right)", "Alt+Right", (0, 1)),
    ("up", "Same expert of the layer before (Alt+Up)", "Alt+Up", (-1, 0)),
    ("down", "Same expert of the next layer (Alt+Down)", "Alt+Down", (1, 0)),
)


class Chooser(QWidget):
    """A field for ``12.37``, and arrows; ``picked`` names layer and expert."""

    picked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model: ModelInfo | None = None
        self.shown = (0, 0)
        self.field = QLineEdit()
        self.field.setPlaceholderText("layer.expert")
        self.field.setAccessibleName("Expert, as layer.expert")
        self.field.setToolTip("Type layer.expert, such as 2.9, and Enter")
        self.field.setFixedWidth(90)
        self.path = ElidedLabel()
        self.scope = ElidedLabel()
        self.overridden = QLabel()
        self.overridden.hide()
        self.buttons: dict[str, QToolButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 4, 8, 4)
        row.addWidget(QLabel("Expert"))
        row.addWidget(self.field)
        for name, hint, shortcut, step in STEPS:
            button = QToolButton()
            button.setToolTip(hint)
            button.setAccessibleName(hint)
            button.setShortcut(shortcut)
            button.clicked.connect(lambda _=False, step=step: self._step(*step))
            self.buttons[name] = button
            row.addWidget(button)
        row.addSpacing(6)
        row.addWidget(self.overridden)
        row.addWidget(self.path, 3)
        row.addWidget(self.scope, 2)
        self.field.returnPressed.connect(self._typed)
        self.setSizePolicy(self.sizePolicy().horizontalPolicy(), self.sizePolicy().Policy.Fixed)

    def show_expert(self, model: ModelInfo, layer: int, expert: int, scope: str) -> None:
        """Say which expert is shown, and over which passes."""
        if (layer, expert) != self.shown or not self.field.text():
            self.field.setText(f"{layer}.{expert}")
        self.model, self.shown = model, (layer, expert)
        info = model.layers[layer]
        self.path.setText(f"{info.path} · {info.experts} experts, top-{info.top_k}")
        self.scope.setText(scope)
        self.buttons["left"].setEnabled(expert > 0)
        self.buttons["right"].setEnabled(expert < info.experts - 1)
        self.buttons["up"].setEnabled(layer > 0)
        self.buttons["down"].setEnabled(layer < len(model.layers) - 1)

    def set_overridden(self, overridden: Overridden, expert: tuple[int, int]) -> None:
        """Say what overrides acted on a (layer, expert) in the passes in view, or are on now; nothing if none."""
        text = overridden.said_of(expert, expert)
        self.overridden.setText("⚠ overridden" if text.startswith("overridden") else "⚠ override on now")
        self.overridden.setToolTip(text)
        self.overridden.setVisible(bool(text))

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self.overridden.setStyleSheet(f"color: {theme.warning};")
        for name, button in self.buttons.items():
            button.setIcon(icon(name, theme))

    def _typed(self) -> None:
        if self.model is None:
            return
        try:
            self.picked.emit(*typed(self.field.text(), self.model))
        except MoedeskError as error:
            self.path.setText(str(error))
            self.field.selectAll()
            self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _step(self, layers: int, experts: int) -> None:
        if self.model is not None:
            self.picked.emit(*stepped(self.shown, layers, experts, self.model))
