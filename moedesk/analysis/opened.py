"""A capture opened in a script, with the analyses as methods: what ``moedesk.open`` returns."""

from collections.abc import Sequence
from os import PathLike

from moedesk.analysis.audit import audit
from moedesk.analysis.finding import AuditReport
from moedesk.analysis.measures.group import By
from moedesk.analysis.measures.report import MetricsReport, measure
from moedesk.capture.open import open_as
from moedesk.capture.reader import Capture


class OpenedCapture(Capture):
    """A capture that can be asked for its metrics and findings."""

    def metrics(self, by: By = "layer", keys: Sequence[str] | None = None) -> MetricsReport:
        """Return every metric, or those of ``keys``, of each layer; by pass, label or rank if asked.

        ``report.layers[0].values["cv"]`` is a number, ``report.to_json()`` what ``moedesk metrics --json`` prints. What a key
        means: ``moedesk.analysis.measures.report.MEANINGS[key]``, or docs/metrics.md.
        """
        return measure(self, by, keys)

    def audit(self) -> AuditReport:
        """Return what is wrong with the routing."""
        return audit(self)


def open_to_analyse(path: str | PathLike[str]) -> OpenedCapture:
    """Open a capture for reading; public as ``moedesk.open``.

    Raises
    ------
    CaptureError
        If there is no such file, it can't be read, or it isn't a capture of a version known here.
    """
    return open_as(path, OpenedCapture)
