"""What a card shows as a table, and as Python that works it out again. No Qt."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moedesk.analysis.expert.contexts import Choice as Which
from moedesk.analysis.expert.friends import Friend, Friendship, friends, friendship
from moedesk.analysis.expert.repetition import again
from moedesk.analysis.experts import share_interval
from moedesk.panels.experts.model_choice import Choice
from moedesk.panels.experts.model_paths import NAMED, PathsView
from moedesk.panels.experts.model_share import BLOCKS, ShareView
from moedesk.panels.experts.model_survey import FRIENDS, SurveyView
from moedesk.panels.experts.model_tokens import CONTEXTS, TOKENS, TokensView

PACKAGE = "moedesk.analysis.expert"


@dataclass(frozen=True)
class Copied:
    """What can be copied of a card.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of tuple
    imports, call : str
        Python that works it out: a line that imports, and one that calls, with ``cap`` the open capture.
    """

    columns: tuple[str, ...]
    rows: tuple[Sequence[object], ...]
    imports: str
    call: str

    @property
    def csv(self) -> str:
        """As CSV with a header line."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()

    def python(self, path: Path | str) -> str:
        """As Python that opens the capture and works it out."""
        return f"import moedesk\n{self.imports}\n\ncap = moedesk.open({str(path)!r})\n{self.call}\n"


def copied_share(view: ShareView) -> Copied:
    """Return the share over time, a row a block."""
    over = view.over_time
    columns = zip(
        over.edges[:-1], over.edges[1:], over.counts, over.slots, over.shares, over.low, over.high, strict=True
    )
    return Copied(
        ("first_pass", "last_pass_excluded", "count", "slots", "share", "low", "high"),
        tuple(columns),
        f"from {PACKAGE}.share import share_over_time",
        f"over = share_over_time(cap, {_where(view.choice)}, {BLOCKS})",
    )


def copied_multiples(view: ShareView) -> Copied:
    """Return the slots of every expert over time, a row a block."""
    over = view.over_time
    rows = zip(over.edges[:-1].tolist(), over.edges[1:].tolist(), over.all_counts.tolist(), strict=True)
    return Copied(
        ("first_pass", "last_pass_excluded", *map(str, range(over.all_counts.shape[1]))),
        tuple((first, last, *counts) for first, last, counts in rows),
        f"from {PACKAGE}.share import share_over_time",
        f"counts = share_over_time(cap, {_where(view.choice)}, {BLOCKS}).all_counts",
    )


def copied_labels(view: SurveyView) -> Copied:
    """Return the share by label."""
    found, expert = view.survey, view.choice.expert
    rows = []
    for name, tokens, counts in zip(found.labels, found.label_tokens, found.label_counts, strict=True):
        count, slots = int(counts[expert]), int(counts.sum())
        rows.append((name, int(tokens), count, slots, count / slots if slots else "", *share_interval(count, slots)))
    columns = ("label", "tokens", "count", "slots", "share", "low", "high")
    return Copied(columns, tuple(rows), *_survey(view, f"found.labels, found.label_counts[:, {expert}]"))


def copied_tokens(view: TokensView) -> Copied:
    """Return the top tokens."""
    rows = [(one.token_id, one.text, one.count, one.share, one.mean_weight) for one in view.top.tokens]
    return Copied(
        ("token_id", "text", "count", "share", "mean_weight"),
        tuple(rows),
        "from moedesk.analysis.experts import top_tokens",
        f"top = top_tokens(cap, {_where(view.choice)}, {TOKENS})",
    )


def copied_contexts(view: TokensView) -> Copied:
    """Return the contexts."""
    which: Which = view.which
    return Copied(
        ("row", "pass", "sequence", "column", "weight", "before", "token", "after"),
        tuple(
            (one.row, one.pass_id, one.sequence, one.column, one.weight, one.before, one.token, one.after)
            for one in view.contexts.contexts
        ),
        f"from {PACKAGE}.contexts import contexts",
        f"found = contexts(cap, {_where(view.choice)}, {which!r}, {CONTEXTS})",
    )


def copied_own(view: SurveyView) -> Copied:
    """Return the tokens of its own."""
    rows = [
        (one.token_id, text, one.count, one.seen, one.share, one.low)
        for one, text in zip(view.vocabulary.own, view.own_texts, strict=True)
    ]
    columns = ("token_id", "text", "count", "seen", "share", "low")
    return Copied(columns, tuple(rows), *_vocabulary(view))


def copied_vocabulary(view: SurveyView) -> Copied:
    """Return vocabulary and repetition, a row a number."""
    found, repeats = view.vocabulary, again(view.survey.repetition, view.choice.expert)
    names = (
        "tokens",
        "different",
        "specialization",
        "specialization_often",
        "chance",
        "effective",
        "own_ids",
        "often_ids",
    )
    rows = [(name, getattr(found, name)) for name in names]
    rows += [
        (f"repetition_{name}", getattr(repeats, name)) for name in ("had", "both", "share", "low", "high", "chance")
    ]
    return Copied(("key", "value"), tuple(rows), *_vocabulary(view))


def copied_friends(view: SurveyView, convention: Friendship) -> Copied:
    """Return the friends."""
    rows = _friends(friends(view.survey, view.choice.expert, convention, FRIENDS))
    call = f"friends(found, {view.choice.expert}, {convention!r}, {FRIENDS})"
    columns = ("expert", convention, "tokens_of_both", "tokens")
    return Copied(columns, rows, *_survey(view, call, f"from {PACKAGE}.friends import friends\n"))


def copied_alike(view: SurveyView) -> Copied:
    """Return the experts alike by vocabulary."""
    call = f"alike(found, {view.choice.expert}, {FRIENDS})"
    columns = ("expert", "cosine", "tokens_of_both", "tokens")
    return Copied(columns, _friends(view.alike), *_survey(view, call, f"from {PACKAGE}.friends import alike\n"))


def copied_matrix(view: SurveyView, convention: Friendship) -> Copied:
    """Return the matrix, a row an expert."""
    values = friendship(view.survey, convention).tolist()
    rows = tuple((expert, *row) for expert, row in enumerate(values))
    columns = ("expert", *map(str, range(len(values))))
    call = f"friendship(found, {convention!r})"
    return Copied(columns, rows, *_survey(view, call, f"from {PACKAGE}.friends import friendship\n"))


def copied_paths(view: PathsView, reach: int) -> Copied:
    """Return the flows; -1 stands for the bundled experts, -2 for none."""
    rows = []
    for flow in view.paths.flows:
        a, b = view.paths.columns[flow.column][flow.source], view.paths.columns[flow.column + 1][flow.target]
        rows.append((a.layer, a.expert, b.layer, b.expert, flow.tokens))
    return Copied(
        ("layer", "expert", "next_layer", "next_expert", "tokens"),
        tuple(rows),
        f"from {PACKAGE}.paths import paths",
        f"found = paths(cap, {_where(view.choice)}, {reach}, {NAMED})",
    )


def _where(choice: Choice) -> str:
    return f"{choice.layer}, {choice.expert}, {choice.first}, {choice.last}"


def _survey(view: SurveyView, call: str, imports: str = "") -> tuple[str, str]:
    choice = view.choice
    lines = f"found = survey(cap, {choice.layer}, {choice.first}, {choice.last})\nresult = {call}"
    return f"{imports}from {PACKAGE}.survey import survey", lines


def _vocabulary(view: SurveyView) -> tuple[str, str]:
    expert = view.choice.expert
    imports = f"from {PACKAGE}.repetition import again\nfrom {PACKAGE}.vocabulary import expert_vocabulary\n"
    imports, lines = _survey(view, f"expert_vocabulary(found, {expert})", imports)
    # In the order of the alphabet, as import lines are.
    ordered = "\n".join(sorted(imports.split("\n")))
    return ordered, f"{lines}\nrepeats = again(found.repetition, {expert})"


def _friends(found: Iterable[Friend]) -> tuple[Sequence[object], ...]:
    return tuple((one.expert, one.value, one.together, one.tokens) for one in found)
