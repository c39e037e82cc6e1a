"""What the sample shows first: the expert that is most of a specialist."""

from collections.abc import Callable

from moedesk.analysis.specialization import LabelShare, domain_loads, strongest
from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.session.session import Session


def show_specialist(session: Session, say: Callable[[str], None]) -> None:
    """Select the expert that gets most above its even share of a label's tokens, and say so; nothing without labels."""
    store = session.store

    def done(found: LabelShare | None) -> None:
        if found is None or session.selection != NOTHING:
            return
        session.select(Selection(Kind.EXPERT, layer=found.layer.place, expert=found.expert))
        say(f"{found.text[0].upper()}{found.text[1:]} ({100 * found.share:.0f} % of its tokens)")

    session.jobs.latest("sample.specialist", lambda ticket: strongest(domain_loads(store, ticket=ticket)), done)
