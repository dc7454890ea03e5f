"""Images in one file, for a machine that no registry reaches."""

from __future__ import annotations

import hashlib
import json
import posixpath
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from images.engine import ImagesError, docker, inspect

Say = Callable[[str], None]

_CHUNK = 1 << 20
# The engine's archive says in this file which configuration and layers are whose.
_MANIFEST = "manifest.json"
# More than an archive's own lists ever have: layers are only hashed.
_MOST_JSON_BYTES = 1 << 22


def save(references: list[str], archive: Path, say: Say) -> None:
    """Save the declared images to one archive, with its checksum beside it.

    The archive is the engine's own (`docker image save`): layers that images share are in it once. The checksum is in
    `<archive>.sha256`, as `sha256sum --check` reads it.

    Raises:
        ImagesError: an image is not here, or the file cannot be written; nothing is left then.
    """
    images = inspect(references)
    checksum = checksum_of(archive)
    part = archive.with_name(f"{archive.name}.part")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (
            part.open("wb") as file,
            subprocess.Popen(
                ["docker", "image", "save", *references], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as engine,
        ):
            assert engine.stdout is not None
            assert engine.stderr is not None
            try:
                while chunk := engine.stdout.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            except OSError:
                engine.kill()
                raise
            complaint = engine.stderr.read().decode(errors="replace").strip()
        if engine.returncode != 0:
            raise ImagesError(f"The engine could not save the images: {complaint}")
        part.replace(archive)
        checksum.write_text(f"{digest.hexdigest()}  {archive.name}\n")
    except OSError as error:
        raise ImagesError(f"{archive} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    for image in images:
        say(f"saved   {image.reference}")
    say(f"{archive} has {len(images)} images, {archive.stat().st_size / 1e6:.0f} MB; its checksum is in {checksum}")


def load(archive: Path, say: Say) -> None:
    """Load the images of an archive, after the whole of it was verified.

    Raises:
        ImagesError: the archive is damaged, cut off or none; nothing was loaded. The text names the damaged images.
    """
    references = verify(archive)
    with archive.open("rb") as file:
        run = subprocess.run(["docker", "image", "load", "--quiet"], stdin=file, capture_output=True, check=False)
    if run.returncode != 0:
        raise ImagesError(f"The engine did not take {archive}: {run.stderr.decode(errors='replace').strip()}")
    listed = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    missing = sorted(set(references) - set(listed))
    if missing:
        raise ImagesError(f"The engine took {archive}, and yet does not have {', '.join(missing)}.")
    for reference in references:
        say(f"loaded  {reference}")


def verify(archive: Path) -> list[str]:
    """Return the references of the images in an archive whose every byte is as it was saved.

    Layers are compared with the digests that their image's configuration names, configurations with the digests that
    they are named by; the file beside the archive covers the rest, where there is one.

    Raises:
        ImagesError: something is not as it was.
    """
    found: dict[str, str] = {}
    links: dict[str, str] = {}
    texts: dict[str, bytes] = {}
    whole = _Hashing(archive)
    broken = ""
    try:
        with whole, tarfile.open(fileobj=cast(IO[bytes], whole), mode="r|") as stream:
            for member in stream:
                name = member.name.removeprefix("./")
                if member.issym() or member.islnk():
                    # The same layer under a second name.
                    target = (
                        member.linkname if member.islnk() else posixpath.join(posixpath.dirname(name), member.linkname)
                    )
                    links[name] = posixpath.normpath(target)
                elif member.isfile():
                    found[name], texts[name] = _read(stream, member)
            whole.read_rest()
    except FileNotFoundError:
        raise ImagesError(f"There is no {archive}.") from None
    except (tarfile.TarError, EOFError) as error:
        broken = f"it ends early or is no archive of images ({error})"
    except OSError as error:
        raise ImagesError(f"{archive} cannot be read: {error.strerror}.") from None
    manifest = _json(texts.get(_MANIFEST, b""))
    if not broken and not isinstance(manifest, list):
        broken = "it does not say which images it has: it ends early or is no archive of images"
    if broken:
        raise ImagesError(f"{archive} is damaged: {broken}. Nothing was loaded.")
    references, damaged = [], []
    for image in manifest:
        names = [str(name) for name in image.get("RepoTags") or []]
        references += names
        if not _is_whole(image, found, links, texts):
            damaged += names or [str(image.get("Config"))]
    if damaged:
        raise ImagesError(f"{archive} is damaged: {', '.join(sorted(damaged))}. Nothing was loaded.")
    checksum = checksum_of(archive)
    if checksum.is_file() and checksum.read_text().split()[:1] != [whole.hexdigest()]:
        raise ImagesError(f"{archive} is not what {checksum} was made for. Nothing was loaded.")
    return sorted(references)


def checksum_of(archive: Path) -> Path:
    """Return the file with an archive's checksum."""
    return archive.with_name(f"{archive.name}.sha256")


def _is_whole(image: dict[str, Any], found: dict[str, str], links: dict[str, str], texts: dict[str, bytes]) -> bool:
    """Tell whether an image's configuration and layers have the digests that they should."""
    config_name = str(image.get("Config", ""))
    config = _json(texts.get(config_name, b""))
    if not isinstance(config, dict) or found[config_name] not in config_name:
        return False
    layers = [links.get(name, name) for name in image.get("Layers", [])]
    wanted = config.get("rootfs", {}).get("diff_ids", [])
    if len(layers) != len(wanted):
        return False
    return all(
        # Engines of 25 and later name a layer's file by its own digest; it may be packed, and then that is the one.
        found.get(name) in (digest.removeprefix("sha256:"), posixpath.basename(name))
        for name, digest in zip(layers, wanted, strict=True)
    )


def _read(stream: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, bytes]:
    """Return a member's digest and, where it is small enough for a list, its bytes."""
    file = stream.extractfile(member)
    assert file is not None
    digest, kept, left = hashlib.sha256(), b"", member.size
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        left -= len(chunk)
        if member.size <= _MOST_JSON_BYTES:
            kept += chunk
    if left:
        raise EOFError(f"{member.name} is cut off")
    return digest.hexdigest(), kept


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class _Hashing:
    """A file that is read once, from its beginning to its end, with the digest of all of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()

    def __enter__(self) -> _Hashing:
        self._file = self._path.open("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def read_rest(self) -> None:
        while self.read(_CHUNK):
            """What follows the archive's end is padding."""

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
