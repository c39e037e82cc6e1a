"""The pins: each dependency that pyproject.toml names has one, and it is one that pyproject.toml allows."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "packaging" / name).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    result = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is not pinned"
        assert "*" not in specifier.version
        result[canonicalize_name(requirement.name)] = specifier.version
    assert len(result) == len(requirements), "a package is pinned twice"
    return result


def declared(extra: str | None = None) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        Requirement(line) for line in (project["optional-dependencies"][extra] if extra else project["dependencies"])
    ]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_to_an_allowed_version(python: str) -> None:
    run = pins("requirements.txt")
    for requirement in declared():
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            assert requirement.specifier.contains(run[canonicalize_name(requirement.name)]), requirement


def test_every_test_dependency_is_pinned_and_no_package_in_both_files() -> None:
    run, test = pins("requirements.txt"), pins("requirements-test.txt")
    for requirement in declared("test"):
        assert requirement.specifier.contains(test[canonicalize_name(requirement.name)]), requirement
    assert not set(run) & set(test)


def test_qt_is_not_a_version_known_to_break() -> None:
    # 6.11.0 and 6.11.1 break undocking; 6.12.0 aborts on Python 3.11.
    assert pins("requirements.txt")["pyside6-essentials"] not in {"6.11.0", "6.11.1", "6.12.0"}
    assert pins("requirements.txt")["shiboken6"] == pins("requirements.txt")["pyside6-essentials"]


def test_building_the_editable_install_needs_nothing_from_the_network() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    run = pins("requirements.txt")
    for requirement in map(Requirement, build):
        assert requirement.specifier.contains(run[canonicalize_name(requirement.name)])
    assert "editables" in run
