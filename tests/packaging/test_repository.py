"""What surrounds the code: workflows, issue forms, the image's recipe."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def test_the_workflows_test_every_python_that_the_package_promises() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["tests"]
    tested = set(matrix["strategy"]["matrix"]["python"])
    floor = re.search(r'requires-python = ">=(3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert floor is not None and floor[1] in tested
    assert {"3.10", "3.11", "3.12", "3.13"} <= tested


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_may_no_more_than_it_needs_and_ends(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert "permissions" in workflow and workflow["permissions"] != "write-all"
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job or "environment" in job
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert "@" in step.get("uses", "@"), "an action without a version"


def test_a_release_stores_no_token() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert "secrets." not in text and "id-token: write" in text


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.name)
def test_an_issue_form_asks_for_something(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids)) >= 2
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_the_image_copies_what_is_there_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line
    user = [i for i, line in enumerate(lines) if line.startswith("USER ")]
    entry = [i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT")]
    assert user and user[-1] < entry[0] and "root" not in lines[user[-1]]
    pinned = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None and f"torch=={pinned[1]} " in "\n".join(lines)
    if _engine():  # linted above wherever no builder is at hand
        subprocess.run(["docker", "build", "-t", "scalingar-test", str(ROOT)], check=True)
        drawn = ["docker", "run", "--rm", "scalingar-test", "list", "strategies"]
        subprocess.run(drawn, check=True)


def _engine() -> bool:
    found = shutil.which("docker")
    return found is not None and not subprocess.run([found, "info"], capture_output=True).returncode
