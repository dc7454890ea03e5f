"""The documentation names what exists: files, headings, commands, options, settings, metrics and alerts."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from cdc_workstation.cli.app import app
from cdc_workstation.cli.kafka import TOOLS
from tests.documentation import ROOT, anchors, blocks, code_spans, commands, links, name_of, pages, prose

PAGES = [pytest.param(page, id=name_of(page)) for page in pages()]
MAKE = re.compile(
    r"(?<![\w./-])((?:[A-Z_]+=\S+ )*)make((?: (?:-C \S+|--\S+|[A-Za-z][\w-]*(?:=(?:\"[^\"]*\"|'[^']*'|\S*))?))*)"
)
# Names of the style `kafka_...` that are no settings: columns, fixtures, topics, options and names of other programs.
OTHER_NAMES = re.compile(r"^(mysql|postgres)_(table|connection|parameters)$|^debezium_(connect|schema_history)_")


@cache
def tracked() -> frozenset[str]:
    """The repository's files, and the directories that hold them."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    return frozenset(files | {str(parent) for name in files for parent in Path(name).parents})


@cache
def outside_of_docs() -> str:
    """All text of the repository that is not documentation, in which names are looked up."""
    kinds = {"", ".html", ".j2", ".java", ".json", ".py", ".sh", ".sql", ".toml", ".yaml", ".yml"}
    paths = [ROOT / name for name in tracked() if not name.startswith(("docs/", "uv.lock", "."))]
    paths = [path for path in paths if path.is_file() and path.suffix in kinds and path.name != Path(__file__).name]
    return "\n".join(path.read_text(errors="replace") for path in paths)


@cache
def settings() -> frozenset[str]:
    """All variables of roles, and those that `make up` replaces by others."""
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    named = {name for spec in specs for entry in spec["argument_specs"].values() for name in entry.get("options", {})}
    return frozenset(named | declared())


@cache
def declared() -> frozenset[str]:
    """Variables with a default: argument specs leave out what one service tells another."""
    files = [*ROOT.glob("roles/*/defaults/main.yml"), *ROOT.glob("roles/*/vars/main.yml")]
    return frozenset(name for path in files for name in (yaml.safe_load(path.read_text()) or {}))


@cache
def words() -> frozenset[str]:
    """All words of the repository outside of the documentation."""
    return frozenset(re.findall(r"\w+", outside_of_docs()))


def prefixes() -> tuple[str, ...]:
    """What the names of settings begin with: the role's."""
    return tuple(f"{path.name}_" for path in (ROOT / "roles").iterdir() if not path.name.startswith("compose"))


@cache
def makefile() -> str:
    """The Makefile."""
    return (ROOT / "Makefile").read_text()


def made(page: Path) -> list[tuple[list[str], list[str]]]:
    """The targets and variables of each call of make that a page shows."""
    found = []
    for command in commands(page):
        for match in MAKE.finditer(command):
            before = [one.partition("=")[0] for one in match[1].split()]
            parts = re.findall(r"-C \S+|--\S+|([A-Za-z][\w-]*)(=)?(?:\"[^\"]*\"|'[^']*'|[^\s]*)", match[2])
            variables = [name for name, assigned in parts if name and assigned]
            found.append(([name for name, assigned in parts if name and not assigned], before + variables))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile(), re.MULTILINE))
    assert {one for names, _ in made(page) for one in names} - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_make_variables_exist(page: Path) -> None:
    scripts = "\n".join(path.read_text() for path in (ROOT / "scripts").iterdir())
    known = set(re.findall(r"\b[A-Z][A-Z_]+\b", makefile())) | set(re.findall(r"\$\{?([A-Z][A-Z_]+)", scripts))
    assert {one for _, names in made(page) for one in names} - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_of_the_repository_exist(page: Path) -> None:
    roots = tuple(
        f"{name}/"
        for name in (
            "docs",
            "examples",
            "images",
            "roles",
            "scripts",
            "src",
            "tests",
            "molecule",
            "playbooks",
            "benchmarks",
        )
    )
    named = [span for span in code_spans(page) if span.startswith(roots) and not set(span) & set("<>*{ ")]
    assert [path for path in named if path.rstrip("/") not in tracked()] == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: Path) -> None:
    spans = "\n".join(code_spans(page))
    named = set(re.findall(r"(?<![\w./$-])[a-z]+(?:_[a-z0-9]+)+(?![\w(/.-])", spans))
    for block in blocks(page):
        if block.language == "yaml":
            named |= set(re.findall(r"^([a-z]+(?:_[a-z0-9]+)+):", block.code, re.MULTILINE))
    for command in commands(page):
        named |= set(re.findall(r"-e '?\{?\"?([a-z]+(?:_[a-z0-9]+)+)", command))
    named = {name for name in named if name.startswith(prefixes()) and not OTHER_NAMES.match(name)}
    assert {name for name in named - settings() if name not in words()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_metrics_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"\bcdc_(?:sink|drift|connect|lag)_[a-z_]+", text))
    known = words() | {f"{word}_total" for word in words() if word.startswith("cdc_")}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_alerts_exist(page: Path) -> None:
    # Names of classes look the same: every such name is somewhere in the repository, or another program's.
    others = {"KafkaConnector", "MaxStartups", "NullPointerException", "SetTransaction", "TypeRegistry"}
    named = {span for span in code_spans(page) if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", span)}
    assert named - words() - others == set()


def test_every_alert_has_a_remedy(root: Path) -> None:
    rules = (root / "roles/prometheus/templates/config/rules/cdc_alerts.yml.j2").read_text()
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    assert alerts
    assert {name for name in alerts if f"`{name}`" not in prose(root / "docs/troubleshooting.md")} == set()


def test_remedies_quote_messages_of_the_sink(root: Path) -> None:
    section = prose(root / "docs/sink.md").partition("## A table has stopped")[2].partition("\n## ")[0]
    quoted = [
        span
        for line in section.splitlines()
        if line.startswith("| `")
        for span in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]
    # Names and numbers in a message are examples.
    parts = [max(re.split(r"\.\.\.|column x|from A to B|\(a\).*|^\d+ ", one), key=len).strip() for one in quoted]
    source = re.sub(
        r'"\s+f?"', "", "".join(path.read_text() for path in (root / "src/cdc_workstation/sink").glob("*.py"))
    )
    assert parts
    assert [part for part in parts if part not in source] == []


@pytest.mark.parametrize("page", PAGES)
def test_environment_variables_exist(page: Path) -> None:
    # A message of Spark, and a variable that users of GitLab set. Vagrant's are made of its settings' names.
    others = {"PYTHON_VERSION_MISMATCH", "WORKSTATION_REPOSITORY"}
    named = {span for span in code_spans(page) if re.fullmatch(r"(?!CDC_VM_)[A-Z]{2,}(?:_[A-Z]+)+", span)}
    assert named - words() - others == set()


def cli_calls(page: Path) -> list[list[str]]:
    """The arguments of each call of the command line that a page shows."""
    found = []
    for command in commands(page):
        for match in re.finditer(r"(?:^|(?<!-C)[\s(\"])(?:\.venv/bin/)?cdc-workstation((?: .*)?)$", command):
            try:
                arguments = shlex.split(match[1], comments=True)
            except ValueError:
                continue
            ends = [index for index, word in enumerate(arguments) if word in ("|", "&&", ";", ">")]
            found.append(arguments[: min(ends, default=len(arguments))])
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: Path) -> None:
    program = typer.main.get_command(app)
    known = getattr(program, "commands", {})
    problems = []
    for arguments in cli_calls(page):
        name, *rest = [*arguments, ""]
        if name == "COMMAND" or name.startswith("--"):
            # A placeholder, and the program's own options.
            continue
        if name and name not in known:
            problems.append(f"no command {name}")
        elif name == "kafka":
            # What follows the tool is the tool's.
            problems += [f"kafka {tool}" for tool in rest[:1] if tool and tool not in TOOLS]
        elif name:
            options = {option for one in known[name].params for option in (*one.opts, *one.secondary_opts)}
            used = {one.partition("=")[0] for one in rest if one.startswith("-")}
            problems += [f"{name} {option}" for option in used - options - {"-h", "--help"}]
    assert problems == []


@pytest.mark.parametrize("page", PAGES)
def test_shell_blocks_are_valid(page: Path) -> None:
    wrong = {}
    for block in blocks(page):
        if block.language == "sh":
            checked = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
            if checked.returncode:
                wrong[block.line] = checked.stderr
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_are_valid(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.code, f"{block.page}:{block.line}", "exec")


def test_code_blocks_have_a_language() -> None:
    assert [f"{one.page}:{one.line}" for page in pages() for one in blocks(page) if not one.language] == []
