"""A user's own project: the example of the documentation, with this repository in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from cdc_workstation.redaction import known_secrets
from cdc_workstation.settings import Settings

# One worker runs them: it starts with groups, and no other one waits for the environment.
pytestmark = [pytest.mark.timeout(300), pytest.mark.uses("databases"), pytest.mark.xdist_group("users-project")]

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "orders-pipeline"


@dataclass(frozen=True)
class Project:
    """A copy of the example, and the Python that it runs with."""

    directory: Path
    python: Path

    def pytest(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the project's tests as its user does."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        return subprocess.run(
            [self.python, "-m", "pytest", "-rs", *arguments],
            cwd=self.directory,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def replace(self, file: str, old: str, new: str) -> None:
        """Change the project's code."""
        path = self.directory / file
        code = path.read_text()
        assert code.count(old) == 1
        path.write_text(code.replace(old, new))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with this repository in it, at the versions of the lock; all workers share it."""
    shared = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("x")
    )
    directory = shared / "users-project"
    python = directory / "bin" / "python"
    with (shared / "users-project.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / "installed"
        if not done.exists():
            # As the documentation says: the thin client, or for the legacy line the classic one.
            line = os.environ.get("SPARK_LINE", "4.2")
            spark = ["--extra", "spark"] if line == "4.2" else ["--group", f"spark-{line.replace('.', '-')}"]
            locked = shared / "locked.txt"
            uv("export", "--frozen", "--no-emit-project", "--no-default-groups", *spark, "-o", str(locked))
            # Built from a copy: what a build leaves behind is not the checkout's.
            source = shared / "cdc-workstation"
            shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
            for file in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(REPOSITORY / file, source)
            uv("venv", "--quiet", "--python", sys.executable, str(directory))
            # What `make venv` fetched and built lies in uv's cache; asked for without its hashes Spark is built again.
            for command, *what in (("sync", locked), ("install", "--no-deps", source, EXAMPLE)):
                pip = ["pip", command, "--quiet", "--python", str(python), *map(str, what)]
                if uv(*pip, "--offline", check=False) is None:
                    uv(*pip)
            done.touch()
    return python


def uv(*arguments: str, check: bool = True) -> str | None:
    """Run uv in the repository and return what it printed; where it fails and that may be, nothing."""
    run = subprocess.run([find_uv_bin(), *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0 or not check, run.stderr
    return run.stdout if run.returncode == 0 else None


@pytest.fixture
def project(environment: Path, tmp_path: Path) -> Project:
    """A copy of the example for one test."""
    directory = tmp_path / "orders-pipeline"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return Project(directory, environment)


def test_example_passes_on_the_stack(project: Project) -> None:
    run = project.pytest()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout, run.stdout


def test_broken_pipeline_fails_and_the_report_shows_what_was_there(project: Project, stack_settings: Settings) -> None:
    # Orders that nobody paid count as well, and the test has no patience.
    project.replace("revenue.py", "WHERE status = 'paid' ", "")
    project.replace("tests/test_revenue.py", "timeout=10", "timeout=2")

    run = project.pytest("-k", "only_paid")

    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    output = run.stdout
    assert "RowError: no row with customer='ada', total=Decimal('19.90')" in output or "total=19.90" in output
    assert "<- total is Decimal('24.90'), not Decimal('19.90')" in output
    screen = output.partition("- cdc-workstation -")[2].partition("Details: ")[0]
    assert len(screen.splitlines()) <= 24
    assert re.findall(r"^  (source|topic|sink|Delta) +(\w+|\?)", screen, re.MULTILINE) == [
        ("source", "yes"),
        ("topic", "yes"),
        ("sink", "yes"),
        ("Delta", "yes"),
    ]
    assert "All stages have it" in screen
    [file] = (project.directory / "build" / "cdc-workstation").iterdir()
    details = file.read_text()
    titles = ["connectors", f"last events of debezium.{stack_settings.mysql_database}.cdc_", "history of", "delta-sink"]
    assert [title for title in titles if f"\n{title}" not in details] == []
    assert ": connector RUNNING, task 0 RUNNING" in details
    assert '"op": "c", "before": null, "after": {"id": 1, "customer": "ada", "amount": 19.9' in details
    assert "MERGE" in details
    logs = {service for service in ("debezium", "delta-sink", "kafka", "mysql") if f"log of {service} (Up" in details}
    assert logs == {"debezium", "delta-sink", "kafka", "mysql"}
    assert not any(secret in output + details for secret in known_secrets())


def test_example_is_skipped_without_a_stack(project: Project, tmp_path: Path) -> None:
    named = {name.upper() for name in Settings.model_fields}
    environment = {name: "" for name in os.environ if name in named}
    run = project.pytest(**environment, CDC_STACK_DIR=str(tmp_path / "nowhere"), CDC_CONNECTION_FILE="")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 skipped" in run.stdout
    assert "mysql is not available: neither the environment nor" in run.stdout
    assert "Run `make up`" in run.stdout
