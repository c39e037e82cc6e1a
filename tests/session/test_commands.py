import pytest

from moedesk.session.commands import Command, Commands


def commands(ran: list[str]) -> Commands:
    made = Commands()
    for command_id, title, menu in [
        ("file.open", "Open capture…", "File"),
        ("view.zoom_in", "Zoom in", "View"),
        ("theme.dark", "Dark", "View/Theme"),
        ("go.drawer", "Toggle drawer", "View"),
    ]:
        made.add(Command(command_id, title, lambda command_id=command_id: ran.append(command_id), menu=menu))  # type: ignore[misc]
    return made


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("dark", "theme.dark"),
        ("zoom", "view.zoom_in"),
        ("opcap", "file.open"),
        ("theme d", "theme.dark"),
        ("tgdr", "go.drawer"),
    ],
)
def test_search_puts_what_fits_best_first(typed: str, first: str) -> None:
    assert commands([]).search(typed)[0].id == first


def test_search_leaves_out_what_does_not_fit_or_cannot_run() -> None:
    made = commands([])
    assert made.search("xyz") == []
    assert len(made.search("")) == 4
    made.add(Command("never", "Dark ages", lambda: None, when=lambda: False))
    assert [command.id for command in made.search("dark")] == ["theme.dark"]


def test_a_command_runs_only_when_it_can() -> None:
    ran: list[str] = []
    made = commands(ran)
    made.add(Command("never", "Never", lambda: ran.append("never"), when=lambda: False))
    made.run("never")
    made.run("file.open")
    assert ran == ["file.open"]


def test_an_id_is_taken_once() -> None:
    made = commands([])
    with pytest.raises(ValueError, match=r"file\.open"):
        made.add(made["file.open"])
