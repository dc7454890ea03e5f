"""Assemble /opt/spark: Spark's own jars without what a workstation cannot use, plus the jars that Maven resolved.

Usage: assemble.py SDIST_DIR MAVEN_JARS_DIR TARGET_DIR

Left out: Kubernetes, YARN and Hive (metastore, thrift server, shell) with their libraries, and the native libraries of
other operating systems and processors inside the jars that carry them all (RocksDB's alone are 60 MB). Signatures go
too, because classes of a signed jar cannot be archived.

TARGET_DIR/classpath.jar names all jars in a fixed order. A JVM takes its archive of classes only where the class path
begins as it did when the archive was made, and the order of a wildcard is that of the directory.
"""

import platform
import re
import shutil
import sys
import zipfile
from pathlib import Path

# By the jar's name without its version.
UNUSED = re.compile(
    r"kubernetes-.*|volcano-.*|vertx-.*|zjsonpatch|spark-(kubernetes|yarn|hive|hive-thriftserver)_.*"
    r"|hive-(?!storage-api).*|datanucleus-.*|derby.*|javax\.jdo|jdo-api|jpam|HikariCP|commons-dbcp|libfb303|libthrift"
    r"|bonecp|stax-api|transaction-api|jta|super-csv|opencsv|ST4|antlr-runtime|java-diff-utils|jline|spark-repl_.*"
    r"|netty-.*-(osx|windows|linux)-.*"
)
# What Maven resolves beside the wanted jars although Spark has it under another name.
UNWANTED = {"commons-logging", "shims", "log4j-slf4j2-impl", "log4j-slf4j-impl"}

ARCHITECTURES = {"x86_64": ("linux64", "x86_64", "amd64"), "aarch64": ("linux-aarch64", "aarch_64", "aarch64")}
NATIVE = re.compile(r".*\.(so|jnilib|dylib|dll|a)$")
SIGNATURE = re.compile(r"META-INF/[^/]*\.(SF|RSA|DSA|EC)")
VERSION = re.compile(r"-\d[\w.+]*(?=(-[a-z][\w-]*)?\.jar$)")


def artifact(jar: Path) -> str:
    """Return the jar's name without version and suffix, keeping its classifier."""
    return VERSION.sub("", jar.name).removesuffix(".jar")


def is_foreign(entry: str, own: tuple[str, ...]) -> bool:
    """Tell whether the native library is one of another platform."""
    path = entry.lower()
    if "musl" in path:
        return True
    is_linux = "linux" in path or path.startswith("meta-inf/native/")
    return not (is_linux and any(name in path for name in own))


def copy_slim(jar: Path, target: Path, own: tuple[str, ...]) -> None:
    """Copy the jar, without signatures and without native libraries of other platforms if it has one of this."""
    with zipfile.ZipFile(jar) as source:
        names = source.namelist()
        native = {name for name in names if NATIVE.fullmatch(name)}
        foreign = {name for name in native if is_foreign(name, own)}
        dropped = {name for name in names if SIGNATURE.fullmatch(name)} | (foreign if foreign < native else set())
        kept = [info for info in source.infolist() if info.filename not in dropped]
        if not dropped:
            shutil.copy2(jar, target)
            return
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
            for info in kept:
                copy.writestr(info, source.read(info), compress_type=info.compress_type)


def write_classpath(jar: Path, members: list[Path]) -> None:
    """Write a jar that holds nothing but the class path; the manifest's lines are at most 72 bytes long."""
    line = "Class-Path: " + " ".join(member.relative_to(jar.parent).as_posix() for member in members)
    lines = [line[:70]] + [f" {line[start : start + 69]}" for start in range(70, len(line), 69)]
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr(
            zipfile.ZipInfo("META-INF/MANIFEST.MF"), "\r\n".join(["Manifest-Version: 1.0", *lines, "", ""])
        )


def main() -> None:
    """Fill the target directory."""
    sdist, maven, target = (Path(argument) for argument in sys.argv[1:4])
    own = ARCHITECTURES[platform.machine()]
    jars = target / "jars"
    extra = target / "extra-jars"
    jars.mkdir(parents=True)
    extra.mkdir()
    native_suffix = re.compile(rf"netty-.*-linux-({'|'.join(own)})")
    for jar in sorted((sdist / "deps" / "jars").glob("*.jar")):
        name = artifact(jar)
        if UNUSED.fullmatch(name) and not native_suffix.fullmatch(name):
            continue
        copy_slim(jar, jars / jar.name, own)
    shipped = {artifact(jar) for jar in (sdist / "deps" / "jars").glob("*.jar")} | UNWANTED
    for jar in sorted(maven.glob("*.jar")):
        if artifact(jar) not in shipped:
            shutil.copy2(jar, jars / jar.name)
            # A driver outside this image needs these and no others: it has Spark's own jars.
            (extra / jar.name).symlink_to(Path("..") / "jars" / jar.name)
    write_classpath(target / "classpath.jar", sorted(jars.glob("*.jar")))
    shutil.copytree(sdist / "deps" / "bin", target / "bin", ignore=shutil.ignore_patterns("*.cmd", "sparkR*"))
    shutil.copytree(sdist / "pyspark", target / "python" / "pyspark", ignore=shutil.ignore_patterns("tests", "*.pyi"))


if __name__ == "__main__":
    main()
