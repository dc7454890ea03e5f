"""Judge settings before anything changes: one rule a kind of setting, one sentence a value that is wrong.

Pure: settings in, sentences out. What only the machine knows (whether it has an address, whether a port is taken) is
the module `preflight`'s business.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

# An option as in `meta/argument_specs.yml`: `type`, `choices`, `elements`.
Option = Mapping[str, Any]

MEBIBYTE = 2**20
UNITS = {"": 1, "b": 1, "k": 2**10, "m": MEBIBYTE, "g": 2**30, "t": 2**40}
# The least that the engine takes as a container's limit.
LEAST_MEMORY = 6 * MEBIBYTE
LEAST_HEAP = 2 * MEBIBYTE
SYSTEM_DIRECTORY = re.compile(
    "/(bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)?"
)


class Kind(NamedTuple):
    """A kind of setting.

    Attributes:
        noun: what the value is to be.
        advice: what would be right.
        accepts: whether a value, as text, is one.
        optional: whether the value may be empty.
    """

    noun: str
    advice: str
    accepts: Callable[[str], bool]
    optional: bool = False


def matches(pattern: str, flags: int = 0) -> Callable[[str], bool]:
    """Accept what the whole of `pattern` matches."""
    compiled = re.compile(pattern, flags)
    return lambda value: compiled.fullmatch(value) is not None


def size(value: str) -> int | None:
    """Return a size such as `96m` in bytes; None where it is none, or has no unit."""
    found = re.fullmatch(r"([0-9]+)([kmgt])b?", value, re.IGNORECASE)
    return int(found[1]) * UNITS[found[2].lower()] if found else None


def at_least(least: int) -> Callable[[str], bool]:
    """Accept sizes from `least` bytes on."""
    return lambda value: (size(value) or 0) >= least


def is_address(value: str) -> bool:
    """Accept IPv4 addresses: published ports and health checks know no others."""
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return True


def is_host(value: str) -> bool:
    """Accept names of hosts and IPv4 addresses."""
    if re.fullmatch(r"[0-9.]+", value):
        return is_address(value)
    return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value) is not None


def is_subnet(value: str) -> bool:
    """Accept IPv4 ranges without host bits that have room for a stack's containers."""
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        return False
    return 8 <= network.prefixlen <= 27


def is_port(value: str) -> bool:
    """Accept ports that can be published."""
    return re.fullmatch(r"[0-9]{1,5}", value) is not None and 1 <= int(value) <= 65535


def is_path(value: str) -> bool:
    """Accept absolute paths that compose, connection.env and the engine's `--volume` all read alike."""
    return (
        re.fullmatch(r"/[A-Za-z0-9._/@+-]+", value) is not None
        and posixpath.normpath(value) == value
        and not SYSTEM_DIRECTORY.fullmatch(value)
    )


def is_duration(units: str) -> Callable[[str], bool]:
    """Accept one or more numbers, each with a unit."""
    return matches(rf"([0-9]+(\.[0-9]+)?({units}))+")


def is_positive(accepts: Callable[[str], bool]) -> Callable[[str], bool]:
    """Accept what `accepts` does and what is not zero."""
    return lambda value: accepts(value) and re.search("[1-9]", value) is not None


GO_UNITS, PROMETHEUS_UNITS = "ns|us|ms|s|m|h", "ms|s|m|h|d|w|y"
PATH_ADVICE = "use an absolute path of letters, digits and . _ - @ +, no system directory and without a final slash"
HOST_PORT = r"[A-Za-z0-9._-]+:[0-9]{1,5}"

ADDRESS = Kind("IPv4 address", "use an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all", is_address)
HOST = Kind("host", "use a name or an IPv4 address", is_host)
SUBNET = Kind("IPv4 range", "use one without host bits, /8 to /27, such as 172.30.57.0/24", is_subnet)
PORT = Kind("port", "use a number from 1 to 65535", is_port)
PATH = Kind("directory", PATH_ADVICE, is_path)
FILE = Kind("path", "use an absolute path of letters, digits and . _ - @ +", is_path, optional=True)
LOCATION = Kind(
    "location of tables",
    "use an absolute path, or s3a://<bucket>/<path>",
    lambda value: is_path(value) or re.fullmatch(r"(s3a?|gs|abfss?)://[^\s'\"]+", value) is not None,
)
MEMORY = Kind("memory size", "use at least 6m, as a whole number with k, m or g, such as 96m", at_least(LEAST_MEMORY))
HEAP = Kind(
    "heap size",
    "use at least 2m, as a whole number with k, m or g, such as 96m",
    lambda value: at_least(LEAST_HEAP)(value) and value[-1] not in "bB",
)
MYSQL_SIZE = Kind("size", "use a whole number with K, M or G, such as 64M", matches(r"[1-9][0-9]*[KMG]", re.IGNORECASE))
POSTGRES_SIZE = Kind(
    "size", "use a whole number with kB, MB, GB or TB, such as 48MB", matches(r"[1-9]\d*(k|M|G|T)B|-1")
)
RETENTION_SIZE = Kind("size", "use a whole number with MB, GB or TB, such as 512MB", matches(r"[1-9]\d*[KMGTPE]?B"))
INTERVAL = Kind("duration", "use a number with ms, s, m or h, such as 5s", is_positive(is_duration(GO_UNITS)))
GO_DURATION = Kind("duration", "use a number with ms, s, m or h, such as 30s", is_duration(GO_UNITS))
DURATION = Kind("duration", "use a number with ms, s, m, h, d or w, such as 30s", is_duration(PROMETHEUS_UNITS))
AGE = Kind("duration", "use a number with s, m, h or d, such as 7d", is_positive(matches(r"[0-9]+(ms|s|m|min|h|d)")))
PROJECT = Kind(
    "project name", "use lower-case letters, digits, - and _, a letter or digit first", matches("[a-z0-9][a-z0-9_-]*")
)
IDENTIFIER = Kind(
    "identifier", "use at most 32 letters, digits and _, no digit first", matches("[A-Za-z_][A-Za-z0-9_]{0,31}")
)
SLOT = Kind("slot name", "use lower-case letters, digits and _", matches("[a-z0-9_]{1,63}"))
LOGIN = Kind("user name", "use 3 to 64 letters, digits and . _ @ -", matches("[A-Za-z0-9._@-]{3,64}"))
VERSION = Kind("version", "use letters, digits and . _ -", matches(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"))
REGISTRY = Kind(
    "registry",
    "use host:port/path, lower case, without a scheme",
    matches(r"[\w.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?"),
    optional=True,
)
PREFIX = Kind(
    "prefix of images", "use lower-case letters, digits and . _ - /", matches(r"[a-z0-9]+([._/-]+[a-z0-9]+)*")
)
URL = Kind(
    "URL",
    "use http://host:port/path, or https://",
    matches(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/\S*)?"),
    optional=True,
)
SERVERS = Kind("list of servers", "use host:port, separated by commas", matches(rf"{HOST_PORT}(, *{HOST_PORT})*"))

# By the whole name, where a suffix would say something else or nothing.
NAMED = {
    "stack_project": PROJECT,
    "stack_dir": PATH,
    "stack_connect_address": HOST,
    "stack_network_gateway": ADDRESS,
    "stack_image_prefix": PREFIX,
    "stack_image_hub": REGISTRY,
    "stack_registry": REGISTRY,
    "stack_ca_bundle": FILE,
    "stack_debian_mirror": URL,
    "stack_health_interval": INTERVAL,
    "alertmanager_data_retention": GO_DURATION,
    "alertmanager_maintenance_interval": GO_DURATION,
    "alertmanager_web_timeout": GO_DURATION,
    "alertmanager_gossip_interval": INTERVAL,
    "delta_sink_tables": LOCATION,
    "grafana_admin_user": LOGIN,
    "minio_root_user": LOGIN,
    "minio_user": LOGIN,
    "mysql_buffer_pool_size": MYSQL_SIZE,
    "postgres_max_slot_wal_keep_size": POSTGRES_SIZE,
    "postgres_publication": IDENTIFIER,
    "postgres_shared_buffers": POSTGRES_SIZE,
    "postgres_slot": SLOT,
    "postgres_work_mem": POSTGRES_SIZE,
    "prometheus_retention_size": RETENTION_SIZE,
    "spark_driver_host": HOST,
    "spark_history_max_age": AGE,
    "spark_warehouse_dir": LOCATION,
}
# Of settings that are text, by the end of their names.
SUFFIXED = {
    "_bind_address": ADDRESS,
    "_bootstrap_servers": SERVERS,
    "_database": IDENTIFIER,
    "_delay": DURATION,
    "_dir": PATH,
    "_for": DURATION,
    "_heap": HEAP,
    "_interval": DURATION,
    "_memory": MEMORY,
    "_retention": DURATION,
    "_retention_time": DURATION,
    "_s3_endpoint": URL,
    "_subnet": SUBNET,
    "_timeout": DURATION,
    "_url": URL,
    "_user": IDENTIFIER,
    "_version": VERSION,
    "_wait": DURATION,
    "_window": DURATION,
}
# The least value of whole numbers, by the end of their names; 0 for all others.
LEAST = {
    "_cores": 1,
    "_connections": 1,
    "_entries": 1,
    "_executors": 1,
    "_gid": 1,
    "_partitions": 1,
    "_rows_per_commit": 1,
    "_tables": 1,
    "_threads": 1,
    "_tick_time": 1,
    "_timeout": 1,
    "_uid": 1,
}
# Negative numbers that mean something: for ever, never, or a priority of apt.
SIGNED = {"docker_plugin_suite_priority", "kafka_retention_hours", "postgres_log_min_duration_statement"}
# Settings that may be written as one text, separated by commas.
SPLIT = {"stack_profiles"}

# Secrets: text that goes through connection.env (shells, dotenv, compose), option files, .pgpass and Java properties.
SECRET = re.compile(r"_(password|secret|secret_key|token)$")
SECRETS = re.compile(r"_secrets$")
# Parts of URLs.
TOKEN = re.compile(r"_token$")
# Accounts of one server, which must differ: by the server, the settings and the names that are taken.
ACCOUNTS = {
    "mysql": (("mysql_user", "mysql_debezium_user"), {"root"}),
    "postgres": (("postgres_user", "postgres_debezium_user", "postgres_exporter_user"), {"postgres"}),
    "minio": (("minio_root_user", "minio_user"), set[str]()),
}


def judge(settings: Mapping[str, object], options: Mapping[str, Option], services: Iterable[str] = ()) -> list[str]:
    """Return one sentence for each setting that is wrong: its name, its value, and what would be right.

    Args:
        settings: name to value, templates resolved.
        options: name to its option in the argument specs; a setting without one is not judged.
        services: the roles that `stack_services` may name; none where it is not to be judged.
    """
    problems = []
    for name in sorted(set(settings) & set(options)):
        problems += judge_one(name, settings[name], options[name])
    if not any(problem.startswith("stack_services ") for problem in problems):
        problems += judge_services(settings.get("stack_services"), services)
    wrong = {problem.split(" ", 1)[0] for problem in problems}
    right = {name: value for name, value in settings.items() if name not in wrong}
    problems += judge_privacy(right)
    return problems + judge_network(right) + judge_heaps(right) + judge_accounts(right) + judge_directories(right)


def judge_one(name: str, value: object, option: Option) -> list[str]:
    """Return what is wrong with one setting by itself."""
    if SECRET.search(name):
        return judge_secret(name, value)
    if SECRETS.search(name) and isinstance(value, Mapping):
        return [problem for key, item in value.items() for problem in judge_secret(f"{name}.{key}", item)]
    kind = str(option.get("type", "str"))
    problem = judge_type(name, value, kind, option)
    if problem:
        return [problem]
    if kind == "list":
        return judge_items(name, value, option)
    choices = option.get("choices")
    if choices and str(value) not in [str(choice) for choice in choices]:
        return [f"{name} {value!r} is not valid; use one of: {', '.join(map(str, choices))}."]
    if kind == "int":
        return judge_number(name, int(str(value)))
    if kind != "str":
        return []
    wanted = NAMED.get(name) or next((SUFFIXED[end] for end in SUFFIXED if name.endswith(end)), None)
    text = str(value)
    if wanted is None or (wanted.optional and not text) or wanted.accepts(text):
        return []
    return [f"{name} {value!r} is not a valid {wanted.noun}; {wanted.advice}."]


def judge_type(name: str, value: object, kind: str, option: Option) -> str:
    """Say what is wrong with a value's type, empty where it is right."""
    if kind == "int" and (isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value))):
        return f"{name} {value!r} is not a whole number; use digits alone."
    if kind == "float" and (isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", str(value))):
        return f"{name} {value!r} is not a number; use digits and a point."
    if kind == "bool" and str(value).lower() not in {"true", "false", "yes", "no", "on", "off", "1", "0"}:
        return f"{name} {value!r} is neither true nor false; use one of them."
    if kind == "dict" and not isinstance(value, Mapping):
        return f"{name} {value!r} is not a mapping; use {{name: value}}."
    if kind == "list" and not (isinstance(value, list | tuple) or (name in SPLIT and isinstance(value, str))):
        items = ", ".join(part.strip() for part in str(value).split(","))
        return f"{name} {value!r} is not a list; use [{items}]."
    if kind == "str" and (value is None or isinstance(value, Mapping | list | tuple)):
        return f"{name} {value!r} is not text; use one value{', in quotes' if value is None else ''}."
    return ""


def judge_number(name: str, number: int) -> list[str]:
    """Return what is wrong with a whole number."""
    if name.endswith("_port"):
        return [] if is_port(str(number)) else [f"{name} {number} is not a valid port; {PORT.advice}."]
    least = next((LEAST[end] for end in LEAST if name.endswith(end)), 0)
    if number >= least or name in SIGNED:
        return []
    return [f"{name} {number} is too small; use {least} or more."]


def judge_items(name: str, value: object, option: Option) -> list[str]:
    """Return what is wrong with the items of a list."""
    # What is no list was refused for its type before.
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    choices = option.get("choices")
    if choices:
        wrong = [str(item) for item in items if item not in choices]
        return [f"{name} names {', '.join(wrong)}; use any of: {', '.join(map(str, choices))}."] if wrong else []
    if name.endswith("_ports"):
        return [f"{name} {item!r} is not a valid port; {PORT.advice}." for item in items if not is_port(str(item))]
    if option.get("elements") == "str":
        wrong = [repr(item) for item in items if not isinstance(item, str | int | float)]
        return [f"{name} has {', '.join(wrong)}; its items are texts."] if wrong else []
    return []


def judge_services(value: object, services: Iterable[str]) -> list[str]:
    """Return what is wrong with the names of services."""
    known = sorted(services)
    if not known or not isinstance(value, list | tuple):
        return []
    wrong = sorted({str(name) for name in value if name not in known})
    if wrong:
        return [f"stack_services names {', '.join(wrong)}; use any of: {', '.join(known)}."]
    return [] if value else ["stack_services [] leaves nothing to deploy; name a service, or run `make down`."]


def judge_secret(name: str, value: object) -> list[str]:
    """Return what is wrong with a secret, without saying what it is."""
    if value is None or value == "":
        return []
    if not isinstance(value, str):
        found = (
            "true or false" if isinstance(value, bool) else "a number" if isinstance(value, int | float) else "a list"
        )
        return [f"{name} is {found} for YAML and not text; put it in quotes."]
    if TOKEN.search(name):
        wrong = sorted({character for character in value if not re.fullmatch(r"[A-Za-z0-9._~+=-]", character)})
        allowed = "letters, digits and . _ ~ + = -"
    else:
        wrong = sorted({character for character in value if not " " <= character <= "~" or character in "'\\`"})
        allowed = "printable ASCII except ' ` \\ and ${"
        wrong += ["${"] if "${" in value else []
    problems = []
    if wrong:
        problems.append(
            f"{name} has {', '.join(map(repr, wrong))} in it, which not all clients read alike; use {allowed}."
        )
    if value != value.strip(" "):
        problems.append(f"{name} starts or ends with a space, which not all clients keep; use one that does not.")
    if len(value) < 8 and name.startswith("minio_"):
        problems.append(f"{name} is too short; MinIO takes 8 characters or more.")
    return problems


def judge_network(settings: Mapping[str, object]) -> list[str]:
    """Return whether the gateway lies outside of the range."""
    if not {"stack_network_subnet", "stack_network_gateway"} <= set(settings):
        return []
    subnet = ipaddress.IPv4Network(str(settings["stack_network_subnet"]))
    gateway = ipaddress.IPv4Address(str(settings["stack_network_gateway"]))
    if gateway in subnet and gateway not in (subnet.network_address, subnet.broadcast_address):
        return []
    first = next(subnet.hosts())
    return [f"stack_network_gateway {str(gateway)!r} is not an address of {subnet}; use {first}."]


def judge_privacy(settings: Mapping[str, object]) -> list[str]:
    """Return whether a private stack is published for other machines."""
    private = str(settings.get("stack_private", False)).lower() in {"true", "yes", "on", "1"}
    address = str(settings.get("stack_bind_address", "127.0.0.1"))
    if not private or ipaddress.ip_address(address).is_loopback:
        return []
    return [f"stack_bind_address {address!r} is not on loopback, and stack_private is true; use 127.0.0.1."]


def judge_heaps(settings: Mapping[str, object]) -> list[str]:
    """Return which heaps leave nothing of their containers' memory to the rest of the JVM."""
    problems = []
    for name, value in sorted(settings.items()):
        limit_name = name.removesuffix("_heap") + "_memory"
        heap, limit = size(str(value)), size(str(settings.get(limit_name, "")))
        if name.endswith("_heap") and heap and limit and heap >= limit:
            problems.append(f"{name} {value!r} is not below {limit_name} {settings[limit_name]!r}; use half of that.")
    return problems


def judge_accounts(settings: Mapping[str, object]) -> list[str]:
    """Return which accounts of one server have the same name."""
    problems = []
    for server, (names, reserved) in ACCOUNTS.items():
        taken = dict.fromkeys(reserved, f"the account of {server} itself")
        for name in names:
            account = str(settings.get(name, ""))
            if account and account in taken:
                problems.append(f"{name} {account!r} is {taken[account]}; use a name of its own.")
            elif account:
                taken[account] = f"{name} as well"
    return problems


def judge_directories(settings: Mapping[str, object]) -> list[str]:
    """Return whether `make destroy` of the one would remove the other."""
    stack, tables = (str(settings.get(name, "")) for name in ("stack_dir", "stack_delta_tables_dir"))
    if not stack or not tables or posixpath.commonpath([stack, tables]) not in (stack, tables):
        return []
    return [
        f"stack_delta_tables_dir {tables!r} and stack_dir {stack!r} lie in each other; use two separate directories."
    ]
