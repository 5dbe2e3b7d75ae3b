"""What deployment files set is what the services read."""

from __future__ import annotations

import re

from tests.deploy.files import ROOT, read

FILES = ("Dockerfile", "docker-compose.yml")
COMPOSE_ALONE = {"MYEVENTS_IMAGE", "MYEVENTS_BACKUP_URL"}
"""What is read by the compose file itself, or by the backup's script."""


def named(text: str) -> set[str]:
    return set(re.findall(r"\bMYEVENTS_[A-Z_]*[A-Z]\b", text))


def test_every_setting_that_is_given_is_read_and_told_of() -> None:
    kubernetes = [path.relative_to(ROOT) for path in (ROOT / "deploy/kubernetes").rglob("*.yaml")]
    given = {name for path in (*FILES, *map(str, kubernetes)) for name in named(read(path))} - COMPOSE_ALONE
    assert len(given) > 10
    assert given <= named(read("myevents/settings.py"))
    assert given <= named(read("README.md"))


def test_operations_tell_of_every_setting() -> None:
    settings = named(read("docs/operations.md").partition("\n## Settings\n")[2].partition("\n## Scale\n")[0])
    assert named(read("myevents/settings.py")) - settings <= {"MYEVENTS_PORT", "MYEVENTS_TLS_PORT"}
