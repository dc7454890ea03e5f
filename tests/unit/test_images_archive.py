"""An archive of images is loaded whole, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from images.archive import checksum_of, verify
from images.engine import Image, ImagesError
from images.registry import remote

FIRST, SECOND = "cdc-workstation/first:1-aaaaaaaaaaaa", "cdc-workstation/second:1-bbbbbbbbbbbb"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def classic(path: Path, damage: str = "") -> Path:
    """An archive as engines write it up to version 24; `damage` names the layer with other bytes than it should."""
    layers = {name: name.encode() * 5000 for name in ("base", "first", "second")}
    manifest = []
    with tarfile.open(path, "w") as archive:
        for name, content in layers.items():
            add(archive, f"{name}/layer.tar", content if name != damage else b"x" + content[1:])
        # A layer that two images share is there under a second name.
        link = tarfile.TarInfo("again/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../base/layer.tar"
        archive.addfile(link)
        for reference, own, base in ((FIRST, "first", "base"), (SECOND, "second", "again")):
            diffs = [f"sha256:{digest(layers['base'])}", f"sha256:{digest(layers[own])}"]
            config = json.dumps({"rootfs": {"diff_ids": diffs}}).encode()
            add(archive, f"{digest(config)}.json", config)
            manifest.append(
                {
                    "Config": f"{digest(config)}.json",
                    "RepoTags": [reference],
                    "Layers": [f"{base}/layer.tar", f"{own}/layer.tar"],
                }
            )
        add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def oci(path: Path, flip: bool = False) -> Path:
    """An archive as engines write it from version 25 on, with a layer that is packed."""
    packed = b"packed" * 5000
    config = json.dumps({"rootfs": {"diff_ids": [f"sha256:{'0' * 64}"]}}).encode()
    manifest = [
        {
            "Config": f"blobs/sha256/{digest(config)}",
            "RepoTags": [FIRST],
            "Layers": [f"blobs/sha256/{digest(packed)}"],
        }
    ]
    with tarfile.open(path, "w") as archive:
        add(archive, f"blobs/sha256/{digest(packed)}", packed if not flip else b"x" + packed[1:])
        add(archive, f"blobs/sha256/{digest(config)}", config)
        add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


def test_a_whole_archive_says_which_images_it_has(tmp_path: Path) -> None:
    assert verify(classic(tmp_path / "images.tar")) == [FIRST, SECOND]
    assert verify(oci(tmp_path / "oci.tar")) == [FIRST]


@pytest.mark.parametrize(("layer", "damaged"), [("first", [FIRST]), ("second", [SECOND]), ("base", [FIRST, SECOND])])
def test_damage_is_named_by_the_images_that_have_it(tmp_path: Path, layer: str, damaged: list[str]) -> None:
    with pytest.raises(ImagesError) as error:
        verify(classic(tmp_path / "images.tar", damage=layer))

    assert f"is damaged: {', '.join(damaged)}. Nothing was loaded." in str(error.value)


def test_a_packed_layer_with_other_bytes_is_damage(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"first:1-aaaaaaaaaaaa\. Nothing was loaded"):
        verify(oci(tmp_path / "images.tar", flip=True))


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_off_is_damaged(tmp_path: Path, part: float) -> None:
    archive = classic(tmp_path / "images.tar")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * part)])

    with pytest.raises(ImagesError, match=r"is damaged: it .*ends early.*Nothing was loaded"):
        verify(archive)


def test_something_else_than_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"what is this" * 1000)

    with pytest.raises(ImagesError, match="Nothing was loaded"):
        verify(tmp_path / "images.tar")


def test_an_archive_of_other_files_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        add(archive, "notes.txt", b"no image")

    with pytest.raises(ImagesError, match="does not say which images it has"):
        verify(tmp_path / "images.tar")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"There is no .*images\.tar"):
        verify(tmp_path / "images.tar")


def test_the_checksum_beside_the_archive_must_be_its_own(tmp_path: Path) -> None:
    archive = classic(tmp_path / "images.tar")
    checksum_of(archive).write_text(f"{digest(archive.read_bytes())}  images.tar\n")
    assert verify(archive) == [FIRST, SECOND]

    checksum_of(archive).write_text(f"{'0' * 64}  images.tar\n")
    with pytest.raises(ImagesError, match=r"is not what .* was made for"):
        verify(archive)


def test_an_image_keeps_its_name_and_tag_in_a_registry() -> None:
    assert remote(FIRST, "localhost:5000/team/") == "localhost:5000/team/first:1-aaaaaaaaaaaa"
    assert remote("other:5000/deep/prefix/first:1", "registry.example") == "registry.example/first:1"


@pytest.mark.parametrize("registry", ["https://registry.example", "localhost:5000/Team", "", "a b"])
def test_what_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(ImagesError, match="is no registry"):
        remote(FIRST, registry)


def test_an_image_tells_its_service_and_version() -> None:
    image = Image("a:5000/x/delta-sink:4.2.0-rc1-0123456789ab", "sha256:1", 1, None, "amd64")  # type: ignore[arg-type]

    assert (image.name, image.version) == ("delta-sink", "4.2.0-rc1")
