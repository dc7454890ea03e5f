"""Images in a registry of the user's, where a team shares what one of them has built."""

from __future__ import annotations

import re
from collections.abc import Callable

from images.engine import ImagesError, docker, inspect

Say = Callable[[str], None]

# <host>[:<port>][/<path>], as the engine's references have it (distribution/reference): no scheme, lower case.
_REGISTRY = re.compile(r"[\w.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


def push(references: list[str], registry: str, say: Say) -> None:
    """Push the declared images to a registry; what it has already is not sent again.

    Raises:
        ImagesError: an image is not here, or the registry refuses it.
    """
    for image in inspect(references):
        there = remote(image.reference, registry)
        added = there != image.reference
        if added:
            docker("image", "tag", image.reference, there)
        try:
            docker("image", "push", "--quiet", there)
        except ImagesError as error:
            raise ImagesError(
                f"{there} could not be pushed: {error}\nA registry with users asks for `docker login`."
            ) from None
        finally:
            if added:
                docker("image", "rm", "--no-prune", there)
        say(f"pushed  {there}")


def pull(references: list[str], registry: str, say: Say) -> None:
    """Pull the declared images from a registry and give them the names that the stack runs them by.

    Raises:
        ImagesError: the registry does not have an image, or does not answer.
    """
    for reference in references:
        there = remote(reference, registry)
        try:
            docker("image", "pull", "--quiet", there)
        except ImagesError as error:
            raise ImagesError(f"{there} could not be pulled: {error}") from None
        if there != reference:
            docker("image", "tag", there, reference)
            docker("image", "rm", "--no-prune", there)
        say(f"pulled  {there}")


def remote(reference: str, registry: str) -> str:
    """Return an image's name in a registry: its own name and tag below `registry`.

    Raises:
        ImagesError: `registry` is none.
    """
    cleaned = registry.rstrip("/")
    if not _REGISTRY.fullmatch(cleaned):
        raise ImagesError(f"{registry} is no registry: write host:port/path, without https:// and in lower case.")
    return f"{cleaned}/{reference.rsplit('/', 1)[-1]}"
