"""One thing that was clicked in the app: a layer, an expert, a pass or a module, with its data."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from moedesk.core.columns import Phase
from moedesk.probe.console.picture import load_picture

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moedesk.probe.console.moe import Moe

Array = npt.NDArray[Any]


class Selected:
    """Something that was clicked in the app, with the data that the app had of it.

    Attributes
    ----------
    fields : mapping
        All that the app told: ``kind``, ``pass_id``, ``layer``, ``expert``, ``token``, ``stream``, ``path``, ….
    arrays : mapping of str to array
    """

    def __init__(self, moe: "Moe", fields: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self._moe = moe
        self.fields, self.arrays = fields, arrays

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return str(self.fields.get("kind", "nothing"))

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        return [("error", str(self.fields["error"]))] if self.fields.get("error") else []

    @property
    def module_path(self) -> str | None:
        """Path of its module in the model, or None."""
        return None

    @property
    def module(self) -> "nn.Module | None":
        """Its module in the attached (or loaded) model; None if there is no such model here."""
        return self._submodule(self.module_path)

    def __repr__(self) -> str:
        rows = self.rows
        width = max((len(name) for name, _ in rows), default=0)
        lines = [f"  {name:<{width}}  {line}" for name, text in rows for line in text.splitlines()]
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><td style="text-align: left">{name}</td><td style="text-align: left">{escape(value)}</td></tr>'
            for name, value in self.rows
        )
        counts = self.arrays.get("counts")
        picture = load_picture([counts]).html if counts is not None and counts.any() else ""
        return f"<b>{escape(self.title)}</b><table>{cells}</table>{picture}"

    @property
    def _model(self) -> "nn.Module | None":
        return self._moe.model

    def _submodule(self, path: str | None) -> Any:
        model = self._model
        if model is None or path is None:
            return None
        try:
            return model.get_submodule(path)
        except AttributeError:  # another model is selected than the one that is attached
            return None

    def _int(self, name: str) -> int:
        return int(self.fields.get(name, -1))


class SelectedLayer(Selected):
    """An MoE layer."""

    @property
    def layer(self) -> int:
        """Its place among the model's MoE layers."""
        return self._int("layer")

    @property
    def path(self) -> str:
        """Path of the block that holds router and experts."""
        return str(self.fields.get("path", ""))

    @property
    def module_path(self) -> str | None:
        """The same: path of the block."""
        return self.path or None

    @property
    def router(self) -> "nn.Module | None":
        """The router's module; None if there is no such model here, or routing has no module of its own."""
        return self._submodule(self.fields.get("router_path") or None)

    @property
    def experts(self) -> "nn.Module | None":
        """The module that holds all its experts; None if there is no such model here."""
        return self._submodule(self.fields.get("experts_path") or None)

    @property
    def counts(self) -> Array | None:
        """(E,) int64 slots each expert received in the capture, padding left out; None if unknown."""
        return self.arrays.get("counts")

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"layer {self.layer} · {self.path}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        counts = self.counts
        rows = super().rows
        if counts is not None and counts.any():
            most = int(counts.argmax())
            rows.append(("load", f"{int(counts.sum()):,} slots on {len(counts)} experts · most on {self.layer}.{most}"))
            rows.append(("", load_picture([counts], [self.layer]).text))
        return rows


class SelectedExpert(SelectedLayer):
    """An expert of an MoE layer."""

    @property
    def expert(self) -> int:
        """Its number in its layer."""
        return self._int("expert")

    @property
    def count(self) -> int | None:
        """Slots it received in the capture, padding left out; None if unknown."""
        counts = self.counts
        return int(counts[self.expert]) if counts is not None and 0 <= self.expert < len(counts) else None

    @property
    def share(self) -> float | None:
        """Its share of its layer's slots, 0 to 1; None if unknown."""
        counts, count = self.counts, self.count
        return None if counts is None or count is None or not counts.any() else count / int(counts.sum())

    @property
    def module_path(self) -> str | None:
        """Path of its own module, or of the module that holds it with the others."""
        experts_path = self.fields.get("experts_path")
        experts = self._submodule(experts_path) if experts_path else None
        if experts is None:
            return experts_path
        names = (name for name, _ in experts.named_children() if name.rpartition("_")[2] == str(self.expert))
        own = next(names, None)
        return experts_path if own is None else f"{experts_path}.{own}"

    @property
    def parameters(self) -> dict[str, "Tensor"]:
        """Its own parameters by name: of its module, or its slices of the stacked ones (views, not copies)."""
        module, counts = self.module, self.counts
        if module is None:
            return {}
        if self.module_path != self.fields.get("experts_path"):
            return dict(module.named_parameters())
        total = None if counts is None else len(counts)
        stacked = {name: tensor for name, tensor in module.named_parameters(recurse=False) if tensor.ndim >= 2}
        return {
            name: tensor[self.expert]
            for name, tensor in stacked.items()
            if self.expert < len(tensor) and total in (None, len(tensor))
        }

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"expert {self.layer}.{self.expert} · {self.path}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        counts, count, share = self.counts, self.count, self.share
        rows = Selected.rows.fget(self)  # type: ignore[attr-defined]
        if counts is not None and count is not None and share is not None:
            fair = share * len(counts)
            rows.append(("load", f"{count:,} of {int(counts.sum()):,} slots · {share:.2%} · {fair:.2f} × fair share"))
        for name, tensor in self.parameters.items():
            shape = "×".join(map(str, tensor.shape))
            rows.append((name, f"{shape} {str(tensor.dtype).removeprefix('torch.')} {tensor.device}"))
        return rows


class SelectedPass(Selected):
    """A forward pass of the model."""

    @property
    def pass_id(self) -> int:
        """Its number in the capture."""
        return self._int("pass_id")

    @property
    def header(self) -> Mapping[str, int]:
        """Its columns: ``phase``, ``t0_ns``, ``t1_ns``, ``n_tokens``, ``batch``, ``past``, …."""
        return dict(self.fields.get("header") or {})

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"pass {self.pass_id}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        header = self.header
        rows = [("phase", Phase(header["phase"]).label)] if "phase" in header else []
        return super().rows + rows + [(n, f"{value:,}") for n, value in header.items() if n not in ("id", "phase")]


class SelectedModule(Selected):
    """Any module of the model."""

    @property
    def path(self) -> str:
        """Its path; empty for the model itself."""
        return str(self.fields.get("module") or "")

    @property
    def module_path(self) -> str | None:
        """The same."""
        return self.path

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        module = self.module
        return f"module {self.path or '(model)'}" + (f" · {type(module).__name__}" if module is not None else "")

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of its repr."""
        rows, module = super().rows, self.module
        if module is not None:
            rows.append(("parameters", f"{sum(parameter.numel() for parameter in module.parameters()):,}"))
        return rows
