"""What the exactness self-test found: whether a model's captured routing is what the model did, layer by layer."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from math import isfinite, nan
from typing import Any, Self


class Verdict(StrEnum):
    """What a check, a layer or a whole self-test came to."""

    VERIFIED = "verified"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class CheckName(StrEnum):
    """Names of checks: of the model as a whole, then of each layer."""

    OUTPUTS = "outputs"
    LAYERS = "layers seen"
    UNTOUCHED = "left as it was"
    CAPTURED = "captured"
    REPLAY = "replay"
    BLOCK = "block output"
    SWITCHED_OFF = "expert switched off"
    COUNTS = "counts"
    LOGITS = "router logits"


NEEDED = (CheckName.CAPTURED, CheckName.REPLAY, CheckName.SWITCHED_OFF, CheckName.COUNTS)
"""A layer is verified if these are and nothing failed."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
        A ``CheckName``.
    verdict : Verdict
    text : str
        The evidence, or why it could not be checked, in one line.
    error, tolerance : float
        Largest error found and what is allowed, in the unit that ``text`` names; NaN where there is no number.
    """

    name: str
    verdict: Verdict
    text: str = ""
    error: float = nan
    tolerance: float = nan


@dataclass(frozen=True)
class LayerVerification:
    """The checks of one MoE layer.

    Attributes
    ----------
    path : str
        ``LayerInfo.path``, or the block's path of a layer that didn't run.
    experts_path : str
        ``LayerInfo.experts_path``: of two layers in one block, which.
    checks : tuple of Check
    """

    path: str
    experts_path: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``failed`` if a check failed, ``verified`` if all in ``NEEDED`` were, else ``not checked``."""
        verdicts = {check.name: check.verdict for check in self.checks}
        if Verdict.FAILED in verdicts.values():
            return Verdict.FAILED
        needed = all(verdicts.get(name) is Verdict.VERIFIED for name in NEEDED)
        return Verdict.VERIFIED if needed else Verdict.NOT_CHECKED

    def check(self, name: str) -> Check | None:
        """Return the check of a name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    @property
    def reason(self) -> str:
        """The evidence of the first failure, or why the layer was not checked; empty if it was verified."""
        verdict = self.verdict
        if verdict is Verdict.VERIFIED:
            return ""
        wanted = (check for check in self.checks if check.verdict is verdict)
        order = sorted(wanted, key=lambda check: check.name not in NEEDED)
        return f"{order[0].name}: {order[0].text}" if order else "the checks that are needed did not run"


@dataclass(frozen=True, repr=False)
class Verification:
    """What a self-test of a model found.

    Attributes
    ----------
    model : str
        Class name of the model.
    created : str
        When it ended, ISO 8601, UTC.
    conditions : str
        What was run and how: inputs, mode, experts implementation, dtype, device.
    seconds : float
    checks : tuple of Check
        Of the model as a whole.
    layers : tuple of LayerVerification
    notes : tuple of str
        What is special, a line each.
    """

    model: str
    created: str = ""
    conditions: str = ""
    seconds: float = nan
    checks: tuple[Check, ...] = ()
    layers: tuple[LayerVerification, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``failed`` if anything failed; ``verified`` if the outputs were and every layer is; else ``not checked``."""
        found = [check.verdict for check in self.checks] + [layer.verdict for layer in self.layers]
        if Verdict.FAILED in found:
            return Verdict.FAILED
        if not self.layers or Verdict.NOT_CHECKED in found:
            return Verdict.NOT_CHECKED
        return Verdict.VERIFIED

    @property
    def verified_layers(self) -> int:
        """Number of layers that were verified."""
        return sum(layer.verdict is Verdict.VERIFIED for layer in self.layers)

    @property
    def summary(self) -> str:
        """The verdict in one line: ``verified 16 of 16 layers``."""
        layers = f"{self.verified_layers:,} of {len(self.layers):,} layers"
        failed = [check for check in self.checks if check.verdict is Verdict.FAILED]
        if failed:
            return f"FAILED · {failed[0].name}: {failed[0].text} · verified {layers}"
        wrong = [layer for layer in self.layers if layer.verdict is Verdict.FAILED]
        if wrong:
            return f"FAILED in {len(wrong):,} of {len(self.layers):,} layers · {wrong[0].path}: {wrong[0].reason}"
        open_checks = [check for check in self.checks if check.verdict is Verdict.NOT_CHECKED]
        if open_checks:
            return f"verified {layers}; not checked: {open_checks[0].name} ({open_checks[0].text})"
        return f"verified {layers}"

    def layer(self, path: str, experts_path: str = "") -> LayerVerification | None:
        """Return what was found of a layer, or None."""
        alike = [layer for layer in self.layers if layer.path == path]
        exact = [layer for layer in alike if layer.experts_path == experts_path]
        return next(iter(exact or alike), None)

    def __repr__(self) -> str:
        from moedesk.core.verification_text import as_text

        return as_text(self) if self.checks or self.layers else f"{self.model}: {self.summary}"

    def _repr_html_(self) -> str:
        from moedesk.core.verification_text import as_html

        return as_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; NaN as None."""
        values: dict[str, Any] = _plain(asdict(self))
        return {**values, "verdict": str(self.verdict), "summary": self.summary}

    @classmethod
    def from_json(cls, values: Any) -> Self | None:
        """Return what ``to_json`` made; None for None, and for what is no verification.

        What this version doesn't know is left out, what is missing takes its default.
        """
        if not isinstance(values, Mapping):
            return None
        try:
            known = _known(cls, values, ("model", "created", "conditions"), ("seconds",))
            checks, notes = _checks(values.get("checks", ())), tuple(str(line) for line in values.get("notes", ()))
            layers = tuple(
                LayerVerification(
                    **_known(LayerVerification, row, ("path", "experts_path")), checks=_checks(row["checks"])
                )
                for row in values.get("layers", ())
            )
            return cls(**known, checks=checks, layers=layers, notes=notes)
        except (TypeError, ValueError, KeyError, AttributeError):
            return None


def _checks(rows: Iterable[Mapping[str, Any]]) -> tuple[Check, ...]:
    return tuple(
        Check(**_known(Check, row, ("name", "text"), ("error", "tolerance")), verdict=Verdict(row["verdict"]))
        for row in rows
    )


def _known(
    kind: type[Any], values: Mapping[str, Any], texts: Iterable[str], numbers: Iterable[str] = ()
) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    found: dict[str, Any] = {name: values[name] for name in texts if name in values and name in names}
    if not all(isinstance(value, str) for value in found.values()):
        raise TypeError
    for name in numbers:
        value = values.get(name)
        found[name] = nan if value is None else float(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None if value != value else repr(value)
    return str(value) if isinstance(value, StrEnum) else value
