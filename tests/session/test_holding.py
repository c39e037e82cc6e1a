"""What a session holds, less what was saved, in words."""

from moedesk.session.holding import Holding


def test_what_is_left_is_said_in_words() -> None:
    assert not Holding(3, 1, 2).beyond(Holding(3, 1, 2))
    assert str(Holding(3).beyond(Holding(3))) == ""
    assert str(Holding(1).beyond(Holding())) == "1 pass"
    assert str(Holding(12_345, 2).beyond(Holding(0, 1))) == "12,345 passes and 1 explanation"
    assert str(Holding(5, 3, 4).beyond(Holding(3, 1, 3))) == "2 passes, 2 explanations and changes of labels"
