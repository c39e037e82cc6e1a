import stat
from pathlib import Path

from moedesk.session.recent import LENGTH, RecentFiles
from moedesk.session.settings import Settings, config_dir


def test_values_come_back(own_settings: Path) -> None:
    settings = Settings()
    assert settings.path.parent == own_settings == config_dir()
    settings.set("zoom", 1.5)
    settings.set("layout", {"docks": "x"})
    settings.save()
    assert Settings().get("zoom") == 1.5
    assert Settings().get("layout") == {"docks": "x"}
    settings.set("zoom", None)
    settings.save()
    assert Settings().get("zoom", "normal") == "normal"
    assert list(own_settings.iterdir()) == [settings.path], "no temporary file stays"


def test_two_running_apps_keep_each_others_changes() -> None:
    first, second = Settings(), Settings()
    first.set("theme", "dark")
    first.save()
    second.set("zoom", 2.0)
    second.save()
    assert (Settings().get("theme"), Settings().get("zoom")) == ("dark", 2.0)


def test_a_broken_file_counts_as_empty(own_settings: Path) -> None:
    own_settings.mkdir(exist_ok=True)
    for content in ("{", "[1]", "\x00"):
        (own_settings / "settings.json").write_text(content)
        assert Settings().get("theme") is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert stat.S_ISREG(blocked.stat().st_mode)
    settings = Settings(blocked / "settings.json")
    settings.set("theme", "dark")
    settings.save()
    assert settings.get("theme") == "dark"


def test_recent_files_latest_first_each_once(tmp_path: Path) -> None:
    recent = RecentFiles(Settings())
    for number in range(LENGTH + 3):
        recent.add(tmp_path / f"{number}.h5")
    recent.add(tmp_path / "9.h5")
    names = [path.name for path in RecentFiles(Settings()).paths]
    assert len(names) == LENGTH
    assert names[:3] == ["9.h5", "14.h5", "13.h5"]
    assert names.count("9.h5") == 1
    recent.remove(tmp_path / "9.h5")
    assert RecentFiles(Settings()).paths[0].name == "14.h5"
    recent.clear()
    assert RecentFiles(Settings()).paths == ()
