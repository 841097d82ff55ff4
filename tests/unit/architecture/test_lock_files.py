"""The lock files say what, with hashes, and never where from; and they fit what they were made of."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from source_imports import CLONE

LOCKS = sorted((CLONE / "requirements").glob("*.lock"))


def pins(text: str) -> dict[str, str]:
    """The version of each package that a lock file names."""
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_pins_every_package_by_hash_and_names_no_host(lock) -> None:  # type: ignore[no-untyped-def]
    # given
    text = lock.read_text(encoding="utf-8")

    # when
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    without_hash = [block.split()[0] for block in blocks if "--hash=sha256:" not in block]

    # then
    assert blocks
    assert without_hash == []
    assert "://" not in text


def test_the_development_lock_satisfies_every_requirement_of_the_project() -> None:
    # given
    project = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        Requirement(line) for line in [*extras["agent"], *extras["controller"], *project["dependency-groups"]["dev"]]
    ]
    pinned = pins((CLONE / "requirements" / "dev.lock").read_text(encoding="utf-8"))

    # when
    unmet = [
        f"{requirement}: the lock has {pinned.get(canonicalize_name(requirement.name))}; run `make lock`"
        for requirement in wanted
        if not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "0"), prereleases=True)
        or canonicalize_name(requirement.name) not in pinned
    ]

    # then
    assert unmet == []
