"""The page of an audit: nothing in it is markup that comes from a capture, nothing is loaded."""

from html.parser import HTMLParser

from moedesk.analysis.audit_html import as_html
from moedesk.analysis.finding import AuditReport, Finding

HOSTILE = "<script>alert('1')</script><img src=x onerror=\"alert(2)\">"


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data) -> None:
        self.text += data


def test_hostile_names_are_text() -> None:
    finding = Finding(
        HOSTILE, HOSTILE, "error", {HOSTILE: {HOSTILE: [HOSTILE]}}, HOSTILE, HOSTILE, HOSTILE, 3, 0.5, HOSTILE
    )
    page = Elements(as_html(HOSTILE, AuditReport(1, (finding,), (HOSTILE,))))
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "href")}
    assert page.text.count(HOSTILE) >= 10


def test_the_page_says_score_categories_and_threshold() -> None:
    finding = Finding(
        "x", "A title", "warning", {"slots_of_layer": 1234}, "Do it.", "above 5 (someone)", None, None, 0.9
    )
    text = Elements(as_html("run.h5", AuditReport(2, (finding,)))).text
    for part in (
        "Score 90 of 100",
        "A title",
        "slots of layer",
        "1,234",
        "Do it.",
        "above 5 (someone)",
        "confidence 0.9",
    ):
        assert part in text
    assert "Nothing was found" in as_html("x", AuditReport(1, ()))
