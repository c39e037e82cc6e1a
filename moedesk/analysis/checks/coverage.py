"""How much of the experts this workload touched, and whether the capture of the routing itself was tested."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.evidence import Evidence
from moedesk.analysis.finding import Finding, Reveal
from moedesk.analysis.measures.measure import Sums
from moedesk.core.model import LayerInfo, ModelInfo
from moedesk.core.verification import Verdict


class Coverage(Check):
    """Bytes of expert weights that no token reached."""

    untouched = About(
        "untouched-weights",
        "data",
        "bytes of expert weights that this workload never touched",
        "info",
        "any expert without a slot, whether dead or not seen enough",
        "counted",
    )
    abouts = (untouched,)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return one finding for the capture."""
        untouched = {layer.layer.path: int(np.count_nonzero(layer.counts == 0)) for layer in evidence.layers}
        untouched = {path: count for path, count in untouched.items() if count}
        if not untouched:
            return
        sizes = {
            layer.layer.path: expert_bytes(evidence.model, layer.layer) if evidence.model else None
            for layer in evidence.layers
        }
        known = {path: size for path, size in sizes.items() if size}
        lost = sum(known[path] * count for path, count in untouched.items() if path in known)
        total = sum(
            known[layer.layer.path] * layer.layer.experts for layer in evidence.layers if layer.layer.path in known
        )
        experts = sum(untouched.values())
        size = f", {lost / 1e6:,.1f} MB of weights" if lost else ""
        yield self.untouched.found(
            f"{experts:,} experts were never used{size}",
            {
                "experts": experts,
                "bytes": lost or None,
                "bytes_of_all_experts": total or None,
                "layers_of_unknown_size": len(sizes) - len(known),
                "experts_by_layer": untouched,
            },
            "What these texts show does not hold for these experts; a workload like this one could keep them off the device.",
            reveal=Reveal("elements"),
        )


class SelfTest(Check):
    """Whether the self-test found that what was captured is what the model did."""

    failed = About(
        "verification-failed",
        "data",
        "captures of a model whose self-test failed",
        "error",
        "any failed check",
        "docs/verify.md",
    )
    absent = About(
        "not-verified",
        "data",
        "captures of a model whose self-test was not run, or not for all layers",
        "info",
        "not every layer verified",
        "docs/verify.md",
    )
    abouts = (failed, absent)

    def findings(self, evidence: Evidence, partials: Mapping[int, Sums]) -> Iterator[Finding]:
        """Return at most one finding."""
        if evidence.model is None:
            return
        found = evidence.model.verification
        if found is not None and found.verdict is Verdict.VERIFIED:
            return
        if found is None or found.verdict is Verdict.NOT_CHECKED:
            yield self.absent.found(
                "Nobody tested that this capture is what the model did"
                if found is None
                else "Not all layers were verified",
                {"self_test": None if found is None else found.summary},
                "Record with verify=True, or run moe.verify() in the console, once for each model and version.",
                reveal=Reveal("elements"),
            )
            return
        yield self.failed.found(
            "The self-test failed: what was captured is not what the model did",
            {
                "self_test": found.summary,
                "layers": [layer.path for layer in found.layers if layer.verdict is Verdict.FAILED],
            },
            "Don't trust the numbers of these layers; an adapter can read them right (docs/adapters.md).",
            reveal=Reveal("elements"),
        )


def expert_bytes(model: ModelInfo, layer: LayerInfo) -> int | None:
    """Return the bytes of one expert's weights, all experts of the layer taken as equally large; None if unknown."""
    module = next((one for one in model.modules if one.path == layer.experts_path and layer.experts_path), None)
    if module is None or not module.parameters:
        return None
    bits = re.match(r"[a-z]+(\d+)", module.dtype or model.dtype)
    real = layer.experts - layer.identity
    return module.parameters * int(bits[1]) // 8 // real if bits and real > 0 else None
