"""The packages in an image, read from what each packager leaves in the files that it installs."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from typing import Literal

from images.golang import MAGIC, read_build

Ecosystem = Literal["deb", "pypi", "maven", "golang", "runtime"]

_STATUS = "var/lib/dpkg/status"
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_DIST_INFO = re.compile(r"(?:\.dist-info/METADATA|\.egg-info/PKG-INFO|\.egg-info)$")
# What Debian's packages bring of these is in the dpkg status.
_DEBIAN_PYTHON = "usr/lib/python3/dist-packages/"
_DEBIAN_JAVA = ("usr/share/", "usr/lib/jvm/")
# A part of every Java runtime.
_RUNTIME_JAR = "/jrt-fs.jar"
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_JAR_NAME = re.compile(r"(?P<name>.+?)(?:-(?P<version>\d[\w.+-]*))?\.jar")
_ELF = b"\x7fELF"
# A Go program is larger: its runtime alone is.
_LEAST_PROGRAM_BYTES = 500_000


@dataclass(frozen=True, order=True)
class Package:
    """A package, and where in the image it was found.

    Args:
        ecosystem: what packaged it.
        name: its name there.
        version: its version there; empty where nothing says it.
        group: Maven's group, where a jar says it.
        path: the file that shows it; none for a Debian package.
        sha1: of the file, for a jar.
        source: the Debian source package with its version, where they differ.
        architecture: of a Debian package.
        licence: as Python metadata states it.
        within: what holds it: the jar that it was shaded into, the Go program that it was linked into.
    """

    ecosystem: Ecosystem
    name: str
    version: str
    group: str = ""
    path: str = ""
    sha1: str = field(default="", compare=False)
    source: str = field(default="", compare=False)
    architecture: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    within: str = ""


@dataclass
class Contents:
    """What an image contains; the distribution as `ID-VERSION_ID` of its os-release with its code name."""

    distribution: str = ""
    codename: str = ""
    packages: list[Package] = field(default_factory=list)


def read_contents(files: tarfile.TarFile) -> Contents:
    """Read an image's files, given as a tar stream."""
    contents = Contents()
    found: set[Package] = set()
    for member in files:
        path = member.name.removeprefix("./")
        if not member.isfile():
            continue
        stream = files.extractfile(member)
        assert stream is not None
        if path == _STATUS:
            found.update(_debian(stream.read().decode("utf-8", "replace")))
        elif path in _OS_RELEASE:
            _distribution(contents, stream.read().decode("utf-8", "replace"))
        elif path.endswith(".jar"):
            if not path.startswith(_DEBIAN_JAVA) and not path.endswith(_RUNTIME_JAR):
                found.update(_jar(path, stream.read()))
        elif _DIST_INFO.search(path) and not path.startswith(_DEBIAN_PYTHON):
            found.update(_python(path, stream.read().decode("utf-8", "replace")))
        elif path.endswith("/release") and not path.startswith(_DEBIAN_JAVA):
            found.update(_runtime(path, stream.read(4096).decode("utf-8", "replace")))
        elif member.mode & 0o111 and member.size >= _LEAST_PROGRAM_BYTES:
            found.update(_program(path, stream.read()))
    contents.packages = sorted(found)
    return contents


def _distribution(contents: Contents, text: str) -> None:
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    named = {name: value.strip("\"'") for name, value in values.items()}
    contents.distribution = "-".join(filter(None, (named.get("ID", ""), named.get("VERSION_ID", ""))))
    contents.codename = named.get("VERSION_CODENAME", "")


def _debian(text: str) -> Iterator[Package]:
    """Give the packages of a dpkg status file that are installed (deb822; lines that go on start with a blank)."""
    for paragraph in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith((" ", "\t"))
        )
        if fields.get("Status", "").split()[-1:] != ["installed"]:
            continue
        # `Source: name (version)`: the version stands there only where it is another one than the package's.
        source, _, version = fields.get("Source", "").partition(" ")
        stated = f"{source}@{version.strip('()')}" if version else source
        yield Package(
            "deb", fields["Package"], fields["Version"], source=stated, architecture=fields.get("Architecture", "")
        )


def _python(path: str, text: str) -> Iterator[Package]:
    """Give the distribution of a METADATA or PKG-INFO file (core metadata specifications)."""
    fields = HeaderParser().parsestr(text, headersonly=True)
    if fields["Name"] and fields["Version"]:
        licence = fields["License-Expression"] or ""
        # PEP 503: the index knows names in this form.
        name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
        yield Package("pypi", name, fields["Version"], path=path, licence=licence)


def _runtime(path: str, text: str) -> Iterator[Package]:
    """Give the Java runtime that a file `release` beside it describes."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "JAVA_VERSION" in values:
        yield Package("runtime", "openjdk", values["JAVA_VERSION"].strip('"'), path=path.rpartition("/")[0])


def _program(path: str, data: bytes) -> Iterator[Package]:
    """Give the modules of a Go program."""
    if not data.startswith(_ELF) or MAGIC not in data:
        return
    build = read_build(data)
    if build is None:
        return
    yield Package("golang", "stdlib", build.go.split()[0].removeprefix("go"), within=path)
    for module in build.modules:
        # A program that was not built from a module at a version says so in place of one.
        version = "" if module.version in ("(devel)", "") else module.version
        yield Package("golang", module.path, version, within=path)


def _jar(path: str, data: bytes) -> Iterator[Package]:
    """Give the artefact that a jar is, and those that were shaded into it."""
    file_name = path.rpartition("/")[2]
    named = _JAR_NAME.fullmatch(file_name)
    assert named is not None
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as jar:
            entries = jar.namelist()
            if not any(not name.startswith("META-INF/") for name in entries):
                # A class path written down as a jar.
                return
            poms = [_properties(jar.read(name).decode("latin-1")) for name in entries if _POM.fullmatch(name)]
            manifest = jar.read("META-INF/MANIFEST.MF").decode("utf-8", "replace") if _has_manifest(entries) else ""
    except zipfile.BadZipFile:
        return
    artefacts = {
        (pom["groupId"], pom["artifactId"], pom["version"])
        for pom in poms
        if {"groupId", "artifactId", "version"} <= pom.keys()
    }
    own = _own(artefacts, file_name)
    attributes = HeaderParser().parsestr(manifest.replace("\r\n", "\n"), headersonly=True)
    if own is None:
        version = named["version"] or attributes["Implementation-Version"] or attributes["Bundle-Version"] or ""
        own = ("", named["name"], version)
    yield Package("maven", own[1], own[2], group=own[0], path=path, sha1=sha1)
    for group, name, version in artefacts - {own}:
        yield Package("maven", name, version, group=group, within=path)


def _own(artefacts: Iterable[tuple[str, str, str]], file_name: str) -> tuple[str, str, str] | None:
    """Return the artefact that a jar of this name is: one that the name starts with, the longest of those."""
    stem = file_name.removesuffix(".jar")
    matching = [one for one in artefacts if stem == one[1] or stem.startswith(f"{one[1]}-{one[2]}")]
    return max(matching, key=lambda one: len(one[1]), default=None)


def _has_manifest(entries: list[str]) -> bool:
    return "META-INF/MANIFEST.MF" in entries


def _properties(text: str) -> dict[str, str]:
    """Return the entries of a properties file as Maven writes them: `name=value` lines and comments."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
