"""What is rendered says that it is managed, and only its owner reads what is secret."""

from __future__ import annotations

from deployment import Deployment

HEADER = "Ansible managed"


def test_configuration_says_that_it_is_managed(deployment: Deployment) -> None:
    # JSON has no comments.
    search = (
        "cd %s && find compose.yml connection.env */compose.yml */config */private -type f ! -name '*.json' 2>/dev/null"
        " | xargs --no-run-if-empty -d '\\n' grep --files-without-match %s"
    )

    unmarked = deployment.host.run(search, deployment.directory, HEADER).stdout.split("\n")

    assert not any(unmarked), f"no header «{HEADER}» in {deployment.directory}: {', '.join(filter(None, unmarked))}"


def test_secrets_are_the_owners_alone(deployment: Deployment) -> None:
    search = "cd %s && find connection.env connection.d secrets */private -type f ! -perm 0600 -printf '%%m %%p\\n'"

    readable = deployment.host.run(search, deployment.directory).stdout.splitlines()

    assert not readable, f"mode and path of secrets that are not 0600 in {deployment.directory}: {', '.join(readable)}"


def test_connection_env_is_there(deployment: Deployment) -> None:
    file = deployment.host.file(f"{deployment.directory}/connection.env")

    assert file.exists, f"{file.path} is missing: run `make up`"
    assert file.mode == 0o600, f"{file.path} has mode {file.mode:o}, not 600"


def test_stack_directory_is_the_owners_alone(deployment: Deployment) -> None:
    directory = deployment.host.file(deployment.directory)

    assert directory.mode == 0o700, f"{directory.path} has mode {directory.mode:o}, not 700"
