"""The image has what it needs and nothing else, and nobody in it is root."""

from __future__ import annotations

import re
import tomllib

from tests.deploy.files import ROOT, read


def packages() -> set[str]:
    return set(tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_every_package_gets_into_the_image_and_nothing_unnamed_does() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", read("Dockerfile"), re.MULTILINE))
    ignored = read(".dockerignore").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert copied == packages()
    assert "*" in ignored
    assert packages() <= allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_image_runs_as_a_user_that_kubernetes_knows_not_to_be_root() -> None:
    assert re.findall(r"^USER (.*)$", read("Dockerfile"), re.MULTILINE) == ["10001:10001"]


def test_dependencies_are_those_of_the_lock() -> None:
    installs = re.findall(r"pip install .*", read("Dockerfile"))
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
