"""A CycloneDX document of what an image contains."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from images.contents import Contents, Package, read_contents
from images.engine import Image, files_of

# An image of the same identity, read by the same code, has the same document.
_READER = hashlib.sha256(
    b"".join(Path(__file__).with_name(name).read_bytes() for name in ("contents.py", "golang.py", "sbom.py"))
).hexdigest()[:12]
_NAMESPACE = uuid.UUID("8d2f2f0e-6a0c-5c62-9d0e-3e5a3c1d4b70")


def sbom_path(directory: Path, image: Image) -> Path:
    """Return where the document of an image lies."""
    return directory / f"{image.name}-{image.tag}.cdx.json"


def write_sbom(image: Image, directory: Path) -> dict[str, Any]:
    """Write the image's document, unless it is there already, and return it.

    Raises:
        ImagesError: the engine did not give the image's files.
    """
    path = sbom_path(directory, image)
    if path.is_file():
        document: dict[str, Any] = json.loads(path.read_text())
        if document.get("serialNumber") == _serial(image).urn:
            return document
    with files_of(image) as files:
        contents = read_contents(files)
    directory.mkdir(parents=True, exist_ok=True)
    text = as_cyclonedx(image, contents)
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    made: dict[str, Any] = json.loads(text)
    return made


def as_cyclonedx(image: Image, contents: Contents) -> str:
    """Return the document as JSON (CycloneDX 1.6). The same image gives the same text."""
    bom = Bom(serial_number=_serial(image))
    bom.metadata.timestamp = image.created
    root = Component(
        name=image.reference.rpartition(":")[0],
        version=image.tag,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        purl=PackageURL(
            "oci", name=image.name, version=image.id, qualifiers={"tag": image.tag, "arch": image.architecture}
        ),
        properties=[
            Property(name="cdc-workstation:distribution", value=contents.distribution),
            Property(name="cdc-workstation:suite", value=contents.codename),
        ],
    )
    bom.metadata.component = root
    parts = [
        _component(package, number, contents.distribution) for number, package in enumerate(sorted(contents.packages))
    ]
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def counts(document: dict[str, Any]) -> Counter[str]:
    """Return how many packages of each ecosystem a document names, by the type of their package URL, each once."""
    urls = {component.get("purl", "") for component in document.get("components", [])}
    return Counter(match[1] for url in urls if (match := re.match(r"pkg:(\w+)/", url)))


def _serial(image: Image) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, f"{image.reference} {image.id} {_READER}")


def _component(package: Package, number: int, distribution: str) -> Component:
    places = [("path", package.path), ("within", package.within)]
    return Component(
        name=package.name,
        group=package.group or None,
        version=package.version or None,
        type=ComponentType.PLATFORM if package.ecosystem == "runtime" else ComponentType.LIBRARY,
        bom_ref=f"{package.ecosystem}-{number}",
        purl=_purl(package, distribution),
        hashes=[HashType(alg=HashAlgorithm.SHA_1, content=package.sha1)] if package.sha1 else None,
        licenses=[LicenseFactory().make_from_string(package.licence)] if package.licence else None,
        properties=[Property(name=f"cdc-workstation:{name}", value=value) for name, value in places if value],
    )


def _purl(package: Package, distribution: str) -> PackageURL:
    """Return the package's URL (purl-spec, the types of the same names)."""
    version = package.version or None
    if package.ecosystem == "deb":
        qualifiers = {"arch": package.architecture, "distro": distribution, "upstream": package.source}
        return PackageURL(
            "deb",
            distribution.partition("-")[0] or "debian",
            package.name,
            version,
            qualifiers={name: value for name, value in qualifiers.items() if value},
        )
    if package.ecosystem == "golang":
        namespace, _, name = package.name.rpartition("/")
        return PackageURL("golang", namespace or None, name, version)
    if package.ecosystem == "runtime":
        return PackageURL("generic", None, package.name, version)
    return PackageURL(package.ecosystem, package.group or None, package.name, version)
