"""The engine's client, and the images that the deployed stack declares."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO


class ImagesError(Exception):
    """Something that the user can mend; the text says what and how."""


@dataclass(frozen=True)
class Image:
    """An image of the engine.

    Args:
        reference: its name with its tag, `<prefix>/<service>:<version>-<hash of the build context>`.
        id: the digest of its configuration, `sha256:...`, which names its whole content.
        size: bytes of all its layers.
        created: when it was built.
        architecture: as the engine calls it, for example `amd64`.
    """

    reference: str
    id: str
    size: int
    created: datetime
    architecture: str

    @property
    def name(self) -> str:
        """The last part of the name: what the image is for."""
        return self.reference.rpartition(":")[0].rsplit("/", 1)[-1]

    @property
    def tag(self) -> str:
        """The tag."""
        return self.reference.rpartition(":")[2]

    @property
    def version(self) -> str:
        """The version of the software that the image is for, as its tag states it."""
        return self.tag.rpartition("-")[0] or self.tag


def docker(*arguments: str) -> str:
    """Run the engine's client and return what it printed.

    Raises:
        ImagesError: it failed; the text is what it said.
    """
    try:
        run = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ImagesError("There is no docker command on this machine: `make up` installs one.") from None
    if run.returncode != 0:
        raise ImagesError(run.stderr.strip() or run.stdout.strip() or f"docker {arguments[0]} failed")
    return run.stdout


def declared(stack_dir: Path) -> list[str]:
    """Return the references of the images that the services in `stack_dir` run, each once.

    Raises:
        ImagesError: nothing is deployed there.
    """
    if not (stack_dir / "compose.yml").is_file():
        raise ImagesError(f"No stack was deployed from {stack_dir}: run `make up` first, or set CDC_STACK_DIR.")
    return sorted(set(docker("compose", "--project-directory", str(stack_dir), "config", "--images").split()))


def inspect(references: list[str]) -> list[Image]:
    """Return what the engine knows of the images.

    Raises:
        ImagesError: the engine does not have one; the text names all that are missing.
    """
    listing = docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}}")
    missing = sorted(set(references) - set(listing.split()))
    if missing:
        raise ImagesError(f"The engine does not have {', '.join(missing)}: `make up` builds what is missing.")
    return [
        Image(
            reference,
            found["Id"],
            found["Size"],
            datetime.fromisoformat(found["Created"][:19] + "+00:00"),
            found["Architecture"],
        )
        for reference, found in zip(
            references, json.loads(docker("image", "inspect", *references)) if references else [], strict=True
        )
    ]


@contextmanager
def files_of(image: Image) -> Iterator[tarfile.TarFile]:
    """Give the image's files as one tar stream, to be read once and in order. Nothing of the image is run."""
    container = docker("create", "--network", "none", "--label", "cdc-workstation.images=1", image.id, "none").strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            stream: IO[bytes] | None = export.stdout
            assert stream is not None
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield archive
            while stream.read(1 << 20):
                """What follows the end of the archive is padding."""
        if export.returncode != 0:
            raise ImagesError(f"The engine could not export {image.reference}.")
    finally:
        docker("rm", container)
