"""An audit as one self-contained HTML page: no scripts, nothing loaded from elsewhere, readable in light and dark."""

from collections.abc import Mapping
from html import escape

from moedesk.analysis.finding import SEVERITIES, AuditReport, Finding
from moedesk.analysis.finding_text import number, value_text

SIGNS = {"error": "✗", "warning": "!", "info": "i"}
_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --ground: #fff; --card: #f6f8fa; --line: #d1d9e0;
  --error: #b3261e; --warning: #7a4d00; --info: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --ground: #0d1117; --card: #151b23;
  --line: #3d444d; --error: #ff8a80; --warning: #f2c14e; --info: #8ab4f8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground); max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 0; } h2 small, .dim { color: var(--dim); font-weight: normal; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { text-align: left; vertical-align: top; padding: .15rem .9rem .15rem 0; }
th { font-weight: normal; color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-left: 4px solid; border-radius: 6px; padding: .7rem 1rem;
  margin: 1rem 0; }
section p { margin: .4rem 0; } section.error { border-left-color: var(--error); }
section.warning { border-left-color: var(--warning); }
section.info { border-left-color: var(--info); } .sign { font-weight: bold; }
.error .sign { color: var(--error); } .warning .sign { color: var(--warning); } .info .sign { color: var(--info); }
"""


def as_html(name: str, report: AuditReport) -> str:
    """Return the page.

    Parameters
    ----------
    name : str
        What was audited; like every text, escaped.
    """
    counts = ", ".join(
        number(sum(one.severity == severity for one in report.findings), severity) for severity in reversed(SEVERITIES)
    )
    scores = "".join(
        f"<tr><th>{escape(category)}</th><td><meter min=0 max=100 low=50 high=90 optimum=100 value={score}></meter></td>"
        f"<td>{score}</td></tr>"
        for category, score in report.categories.items()
    )
    notes = "".join(f"<p class=dim>{escape(note)}</p>" for note in report.notes)
    findings = "".join(map(_finding, report.findings)) or "<p>Nothing was found.</p>"
    title = escape(f"Audit of {name}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>"
        f"<p>Score {report.score} of 100 · {counts} · {report.layers:,} MoE layers</p>{notes}"
        f"<table>{scores}</table>{_CONVENTIONS}\n{findings}</body></html>\n"
    )


_CONVENTIONS = (
    "<p class=dim>Score: the mean over layers of 100, or 50 with a warning, or 0 with an error; less 10 for a warning and 50 for "
    "an error about the whole capture. Shares of slots sum to 1 in a layer, shares of tokens to k; padding is left out, and "
    "experts without a slot count. Entropies are in nats or, where divided by ln E, from 0 to 1. Intervals: Wilson, 95 %.</p>"
)


def _finding(finding: Finding) -> str:
    where = " · ".join(
        [finding.category, finding.id]
        + ([finding.layer] if finding.layer else [])
        + ([f"expert {finding.expert}"] if finding.expert is not None else [])
    )
    return (
        f"<section class={finding.severity}><h2><span class=sign>{SIGNS[finding.severity]} {finding.severity}</span> "
        f"{escape(finding.title)} <small>{escape(where)}</small></h2>{_table(finding.evidence)}"
        f"<p>{escape(finding.advice)}</p>"
        f"<p class=dim>Threshold: {escape(finding.threshold_source)} · confidence {finding.confidence:.3g}</p></section>\n"
    )


def _table(evidence: Mapping[str, object]) -> str:
    rows = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(value_text(value))}</td></tr>"
        for key, value in evidence.items()
    )
    return f"<table>{rows}</table>"
