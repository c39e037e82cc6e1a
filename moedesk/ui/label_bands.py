"""Bands along an axis of passes that say what they were labelled as."""

from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QSizePolicy, QWidget

from moedesk.analysis.pass_labels import PassLabels
from moedesk.ui.color import oklch
from moedesk.ui.static_texts import StaticTexts
from moedesk.ui.theme import LIGHT, Theme

HEIGHT = 15
LANES = 3
"""Labels that overlap lie above one another, so many at most; further ones hide those before."""
_GAP = 1.0


def label_color(theme: Theme, place: int) -> QColor:
    """Return the colour of the label at a place in the names; paler than experts' colours, which mean something else."""
    return QColor(oklch(0.40 if theme.is_dark else 0.86, 0.07, (70 + place * 137.508) % 360))


class LabelBands:
    """Draws labels between two pixels; of bands narrower than a pixel the first one there.

    Attributes
    ----------
    labels : PassLabels
    """

    def __init__(self) -> None:
        self._texts = StaticTexts()
        self.set_labels(PassLabels())

    def set_labels(self, labels: PassLabels) -> None:
        """Take over other labels, and lay out which lie above which."""
        self.labels = labels
        self._place = {name: place for place, name in enumerate(labels.names)}
        ends: list[int] = []
        self._lanes = []
        for label in labels.labels:
            lane = next((lane for lane, end in enumerate(ends) if end <= label.first), None)
            if lane is None:
                lane = min(len(ends), LANES - 1)
            if lane == len(ends):
                ends.append(0)
            ends[lane] = label.last
            self._lanes.append(lane)
        self.lanes = len(ends)

    def paint(self, painter: QPainter, theme: Theme, view: tuple[float, float], width: float, top: float) -> None:
        """Draw what is in view: passes ``view[0]`` to ``view[1]`` over ``width`` pixels."""
        left, right = view
        scale = width / max(right - left, 1e-9)
        height = HEIGHT / max(self.lanes, 1)
        reached = [-1.0] * max(self.lanes, 1)
        self._texts.set_font(painter.font())
        for label, lane in zip(self.labels.labels, self._lanes, strict=True):
            if label.first >= right:
                break
            low, high = max((label.first - left) * scale, 0.0), min((label.last - left) * scale, width)
            if high <= 0 or high < reached[lane] + 1:
                continue
            reached[lane] = high
            color = label_color(theme, self._place[label.name])
            box = QRectF(low, top + lane * height, max(high - low - _GAP, 1.0), height - (self.lanes > 1))
            painter.fillRect(box, color if label.whole else QColor(color.red(), color.green(), color.blue(), 110))
            if self.lanes == 1:
                self._name(painter, theme, label.name, box, color)

    def _name(self, painter: QPainter, theme: Theme, name: str, box: QRectF, color: QColor) -> None:
        """Write the name into its band if there is room."""
        static, width = self._texts.get(name)
        if width + 6 > box.width():
            return
        painter.setPen(theme.color("text") if theme.is_dark else theme.text_on(color))
        lift = (box.height() - static.size().height()) / 2
        painter.drawStaticText(QPointF(round(box.left() + (box.width() - width) / 2), round(box.top() + lift)), static)


class LabelLegend(QWidget):
    """Names the colours of the bands; hidden without labels."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme: Theme = LIGHT
        self._names: tuple[str, ...] = ()
        self._texts = StaticTexts()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(self.fontMetrics().height() + 2)
        self.setAccessibleName("Labels")
        self.hide()

    @property
    def names(self) -> tuple[str, ...]:
        """The names shown."""
        return self._names

    def set_names(self, names: tuple[str, ...]) -> None:
        """Show other names."""
        if names != self._names:
            self._names = names
            self.setToolTip("Labels, as bands below the picture: " + ", ".join(names))
            self.setVisible(bool(names))
            self.update()

    def set_theme(self, theme: Theme) -> None:
        """Take over new colours."""
        self._theme = theme
        self.update()

    def paintEvent(self, event: object) -> None:  # noqa: N802
        """Draw a swatch and a name each, as many as there is room for, then how many more there are."""
        painter = QPainter(self)
        self._texts.set_font(self.font())
        x, square = 0.0, self.height() - 6
        more_room = self._texts.get(f"+ {len(self._names)} more")[1]
        for place, name in enumerate(self._names):
            width = square + 4 + self._texts.get(name)[1] + 12
            rest = len(self._names) - place - 1
            if x + width + (more_room if rest else 0) > self.width():
                painter.setPen(self._theme.color("muted"))
                self._texts.draw(painter, x, 1, f"+ {rest + 1} more")
                break
            painter.setPen(self._theme.color("border"))
            painter.setBrush(label_color(self._theme, place))
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
            painter.drawRect(QRectF(x, 3, square, square))
            painter.setPen(self._theme.color("muted"))
            self._texts.draw(painter, x + square + 4, 1, name)
            x += width
        painter.end()
