"""What is read from an image's files, and the document that is made of it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images.contents import Contents, Package, read_contents
from images.engine import Image
from images.golang import MAGIC, GoModule, read_build
from images.sbom import as_cyclonedx, counts

IMAGE = Image(
    "cdc-workstation/sample:1.2-0123456789ab", f"sha256:{'a' * 64}", 1, datetime(2026, 11, 1, tzinfo=UTC), "amd64"
)
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.1-2)
Version: 3.0.1-2+b1
Description: text
 that: goes on

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1
"""
MODULES = (
    "path\texample.org/tool\nmod\texample.org/tool\tv1.4.0\th1:x=\n"
    "dep\texample.org/old\tv1.0.0\th1:y=\n=>\texample.org/new\tv2.0.0\th1:z=\n"
    "dep\texample.org/lib\tv0.3.1\th1:w=\nbuild\t-trimpath=true\n"
)


def varint(number: int) -> bytes:
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def go_program(modules: str = MODULES, flags: int = 2) -> bytes:
    information = b"m" * 16 + modules.encode() + b"e" * 16
    header = (MAGIC + bytes([8, flags])).ljust(32, b"\0")
    version = b"go1.26.1"
    body = header + varint(len(version)) + version + varint(len(information)) + information
    return b"\x7fELF".ljust(4096, b"\0") + body + bytes(600_000)


def jar(*artefacts: tuple[str, str, str], manifest: str = "Manifest-Version: 1.0\n", code: bool = True) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", manifest)
        for group, name, version in artefacts:
            text = f"#Created by Maven\ngroupId={group}\nartifactId={name}\nversion={version}\n"
            archive.writestr(f"META-INF/maven/{group}/{name}/pom.properties", text)
        if code:
            archive.writestr("a/B.class", b"\xca\xfe\xba\xbe")
    return data.getvalue()


def read(files: dict[str, bytes], mode: int = 0o644) -> Contents:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    data.seek(0)
    with tarfile.open(fileobj=data, mode="r|") as archive:
        return read_contents(archive)


def named(contents: Contents) -> set[tuple[str, str, str]]:
    return {(package.ecosystem, package.name, package.version) for package in contents.packages}


def test_debian_packages_that_are_installed_are_found_and_no_others() -> None:
    contents = read({"var/lib/dpkg/status": STATUS.encode()})

    assert named(contents) == {("deb", "libssl3", "3.0.1-2+b1"), ("deb", "bash", "5.2-1")}
    assert {package.source for package in contents.packages} == {"openssl@3.0.1-2", ""}


def test_the_distribution_is_read_from_os_release() -> None:
    contents = read({"usr/lib/os-release": b'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n'})

    assert (contents.distribution, contents.codename) == ("debian-13", "trixie")


def test_python_distributions_have_the_name_that_the_index_knows() -> None:
    metadata = b"Metadata-Version: 2.4\nName: Py_Arrow\nVersion: 21.0\n\nText\n"

    contents = read({"opt/python/Py_Arrow-21.0.dist-info/METADATA": metadata})

    assert named(contents) == {("pypi", "py-arrow", "21.0")}


def test_what_debian_packages_bring_is_not_counted_twice() -> None:
    contents = read(
        {
            "usr/lib/python3/dist-packages/six-1.0.dist-info/METADATA": b"Name: six\nVersion: 1.0\n",
            "usr/share/java/ant.jar": jar(("org.apache.ant", "ant", "1.10")),
            "opt/jre/lib/jrt-fs.jar": jar(),
            "usr/lib/jvm/java-21/release": b'JAVA_VERSION="21.0.13"\n',
        }
    )

    assert contents.packages == []


def test_a_java_runtime_that_is_not_debians_is_found() -> None:
    assert named(read({"opt/jre/release": b'JAVA_VERSION="21.0.13"\n'})) == {("runtime", "openjdk", "21.0.13")}


def test_a_jar_is_the_artefact_of_its_name_and_holds_those_shaded_into_it() -> None:
    data = jar(("org.example", "tool", "1.0"), ("org.example", "tool-core", "1.0"), ("com.other", "lib", "2.1"))

    contents = read({"opt/jars/tool-core-1.0.jar": data})

    assert {(package.group, package.name, package.path, package.within) for package in contents.packages} == {
        ("org.example", "tool-core", "opt/jars/tool-core-1.0.jar", ""),
        ("org.example", "tool", "", "opt/jars/tool-core-1.0.jar"),
        ("com.other", "lib", "", "opt/jars/tool-core-1.0.jar"),
    }


@pytest.mark.parametrize(
    ("file_name", "manifest", "version"),
    [
        ("thing-3.1.4.jar", "Manifest-Version: 1.0\n", "3.1.4"),
        ("thing.jar", "Manifest-Version: 1.0\nImplementation-Version: 7.7\n", "7.7"),
        ("thing.jar", "Manifest-Version: 1.0\n", ""),
    ],
)
def test_a_jar_without_maven_metadata_has_the_version_that_something_says(
    file_name: str, manifest: str, version: str
) -> None:
    contents = read({f"opt/{file_name}": jar(manifest=manifest)})

    assert named(contents) == {("maven", "thing", version)}


def test_a_class_path_that_is_written_down_as_a_jar_is_no_library() -> None:
    contents = read({"opt/classpath.jar": jar(manifest="Manifest-Version: 1.0\nClass-Path: a.jar\n", code=False)})

    assert contents.packages == []


def test_a_damaged_jar_stops_nothing() -> None:
    contents = read({"opt/broken.jar": b"no archive", "var/lib/dpkg/status": STATUS.encode()})

    assert len(contents.packages) == 2


def test_go_programs_say_their_modules_and_what_replaces_them() -> None:
    build = read_build(go_program())

    assert build is not None
    assert build.go == "go1.26.1"
    assert build.modules == [
        GoModule("example.org/tool", "v1.4.0", main=True),
        GoModule("example.org/new", "v2.0.0"),
        GoModule("example.org/lib", "v0.3.1"),
    ]


@pytest.mark.parametrize(
    "program",
    [b"\x7fELF" + bytes(1000), go_program(flags=0), go_program()[:4140], go_program()[:4100]],
    ids=["not Go", "older than 1.18", "cut off in a string", "cut off in the header"],
)
def test_a_program_without_readable_build_information_has_no_modules(program: bytes) -> None:
    assert read_build(program) is None


def test_modules_are_found_in_programs_and_not_in_data() -> None:
    assert ("golang", "example.org/lib", "v0.3.1") in named(read({"usr/local/bin/tool": go_program()}, mode=0o755))
    assert read({"srv/tool.bak": go_program()}, mode=0o644).packages == []


def sample() -> Contents:
    return Contents(
        "debian-13",
        "trixie",
        [
            Package("deb", "libssl3", "3.0.1-2+b1", source="openssl@3.0.1-2", architecture="amd64"),
            Package("pypi", "py-arrow", "21.0", path="opt/a", licence="Apache-2.0"),
            Package("maven", "tool", "1.0", group="org.example", path="opt/tool.jar", sha1="0" * 40),
            Package("maven", "nameless", ""),
            Package("golang", "example.org/lib", "v0.3.1", within="usr/bin/one"),
            Package("golang", "example.org/lib", "v0.3.1", within="usr/bin/two"),
            Package("runtime", "openjdk", "21.0.13", path="opt/jre"),
        ],
    )


def test_the_document_is_valid_cyclonedx() -> None:
    text = as_cyclonedx(IMAGE, sample())

    assert json.loads(text)["specVersion"] == "1.6"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_same_image_gives_the_same_document() -> None:
    assert as_cyclonedx(IMAGE, sample()) == as_cyclonedx(IMAGE, sample())


def test_package_urls_are_those_that_scanners_look_up() -> None:
    document = json.loads(as_cyclonedx(IMAGE, sample()))

    assert {component["purl"] for component in document["components"]} == {
        "pkg:deb/debian/libssl3@3.0.1-2%2Bb1?arch=amd64&distro=debian-13&upstream=openssl%403.0.1-2",
        "pkg:pypi/py-arrow@21.0",
        "pkg:maven/org.example/tool@1.0",
        "pkg:maven/nameless",
        "pkg:golang/example.org/lib@v0.3.1",
        "pkg:generic/openjdk@21.0.13",
    }


def test_a_package_that_is_there_twice_is_counted_once() -> None:
    document = json.loads(as_cyclonedx(IMAGE, sample()))

    assert counts(document) == {"deb": 1, "pypi": 1, "maven": 2, "golang": 1, "generic": 1}
