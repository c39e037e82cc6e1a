"""Search in the module tree: which nodes match, and which of them comes next."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from moedesk.panels.elements.model_tree import NO_NODE, Outline


@dataclass(frozen=True)
class Matches:
    """The nodes that match a search text, from top to bottom.

    Attributes
    ----------
    text : str
    nodes : tuple of int
    places : tuple of int
        Their places in ``Outline.order``, ascending.
    """

    text: str = ""
    nodes: tuple[int, ...] = ()
    places: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.nodes)

    def after(self, place: int) -> int:
        """Return the number of the first match below a place of the order, round to the first one; -1 if there is none."""
        return bisect_right(self.places, place) % len(self.places) if self.places else NO_NODE

    def before(self, place: int) -> int:
        """Return the number of the last match above a place of the order, round to the last one; -1 if there is none."""
        return (bisect_left(self.places, place) - 1) % len(self.places) if self.places else NO_NODE

    def at(self, place: int) -> int:
        """Return the number of the match at a place of the order, or -1."""
        found = bisect_left(self.places, place)
        return found if found < len(self.places) and self.places[found] == place else NO_NODE

    def count_text(self, place: int) -> str:
        """Return ``3 of 12`` with the place on a match, else ``12 matches``; empty without a search."""
        if not self.text:
            return ""
        if not self.nodes:
            return "no match"
        number = self.at(place)
        if number >= 0:
            return f"{number + 1:,} of {len(self):,}"
        return f"{len(self):,} match" + ("es" if len(self) > 1 else "")


@dataclass(frozen=True)
class SearchIndex:
    """What is searched of each node, in the order from top to bottom, so that a key press costs milliseconds.

    Attributes
    ----------
    outline : Outline
    contents : tuple of str
        Path, name, class and badges, in lower case, by place in ``outline.order``.
    place : dict
        Place in the order of each node.
    """

    outline: Outline
    contents: tuple[str, ...]
    place: dict[int, int]

    def find(self, text: str) -> Matches:
        """Find the nodes that contain every word of ``text``, upper and lower case alike."""
        words = text.lower().split()
        if not words:
            return Matches()
        first, *others = words
        places = [place for place, content in enumerate(self.contents) if first in content]
        places = [place for place in places if all(word in self.contents[place] for word in others)]
        return Matches(text, tuple(self.outline.order[place] for place in places), tuple(places))


def search_index(outline: Outline) -> SearchIndex:
    """Write down what is searched of an outline."""
    contents = tuple(_content(outline, node) for node in outline.order)
    return SearchIndex(outline, contents, {node: place for place, node in enumerate(outline.order)})


def _content(outline: Outline, node: int) -> str:
    badges = " ".join(badge.text for badge in outline.badges(node))
    return f"{outline.path(node)} {outline.name(node)} {outline.class_name(node)} {badges}".lower()
