#!/usr/bin/python
"""Look at a machine before anything changes, and say everything that stands in the way."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import shutil
import socket
import urllib.error
import urllib.parse
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.engine_rules import owner_problems, published, table_problems
from ansible.module_utils.urls import open_url

DOCUMENTATION = """
module: preflight
short_description: Look at a machine before anything changes, and say everything that stands in the way
options:
  ports:
    type: dict
    required: true
    description: Variable name to the port that it publishes; C(..._udp_port) is one of UDP, all others are of TCP.
  address: {type: str, required: true, description: The address that ports are published on.}
  project: {type: str, required: true, description: The compose project; what its containers hold is its own.}
  stack_dir: {type: path, required: true, description: The stack's directory.}
  subnet: {type: str, required: true, description: The range of the stack's network.}
  min_memory_mb: {type: int, required: true, description: Memory that the stack asks for.}
  min_disk_mb: {type: int, required: true, description: Free disk space that the images ask for.}
  disk_path: {type: path, default: /var/lib/docker, description: Where the engine keeps its data.}
  services: {type: list, elements: str, required: true, description: Services whose images are to be there.}
  image_prefix: {type: str, required: true, description: The prefix of the stack's images.}
  registry: {type: str, default: "", description: The registry that images are pulled from.}
  builds: {type: bool, default: true, description: Whether images that are missing are built.}
  image_hub: {type: str, default: docker.io, description: The hub that images are pulled from which nobody can build.}
  hub_images: {type: dict, default: {}, description: "Role to its images of the hub, each by its variable."}
  profiles: {type: dict, default: {}, description: Profile to the roles that it stands for.}
  debian_mirror: {type: str, default: "", description: The Debian mirror that the user set.}
  python: {type: str, required: true, description: The interpreter whose package index is asked.}
  may_become_root: {type: bool, required: true, description: Whether a password for sudo was given.}
  delta_tables_dir: {type: path, required: true, description: The directory of Delta tables.}
  private: {type: bool, default: false, description: Whether other users of the machine are to be kept away.}
author: cdc-workstation
"""

EXAMPLES = """
- name: Look at the machine
  preflight:
    ports: {kafka_port: 9092}
"""

RETURN = """
problems:
  description: What stands in the way, each with what to do.
  type: list
  elements: str
  returned: always
"""

# The kernel's state of a socket that waits for whoever comes (include/net/tcp_states.h); UDP has no listening.
WAITING = {"tcp": "0A", "udp": "07"}
ROUTES = Path("/proc/net/route")
# What a stack's directory has from the first moments of its first run.
STACK_ENTRIES = {"compose.yml", "connection.d", "logs", "secrets", "targets", ".last-good", "webhook-receiver"}
# Services whose containers have the directory of the tables.
TABLE_SERVICES = {"spark", "delta-sink"}
# All of it takes 1 MB; Spark's jars for drivers on the host take the rest.
MIN_STACK_MB = 16
# What the engine calls the bridges of its networks: they outlast an engine that was stopped.
ENGINE_BRIDGE = re.compile(r"docker0|br-[0-9a-f]{12}")
CONNECT_SECONDS = 5
ANOTHER_USER = "a process of another user"
PINNED = re.compile(r"(?P<name>[a-z0-9._/-]+):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
# What the engine makes of the default hub's name, and where it speaks HTTP unasked (distribution/reference, moby).
DEFAULT_HUB = {"docker.io": "registry-1.docker.io"}
LOOPBACK = re.compile(r"(localhost|127(\.\d+){3})(:\d+)?")
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


def listening_inodes(address: str) -> dict[tuple[str, int], set[str]]:
    """Return (protocol, port) to socket inodes for what listens where `address` would (proc(5), /proc/net/tcp)."""
    everywhere = {"00000000", "0" * 32}
    # The kernel prints the address as one number in its own, little-endian, order.
    own = socket.inet_aton(address)[::-1].hex().upper()
    found: dict[tuple[str, int], set[str]] = {}
    tables = [(protocol, Path(f"/proc/net/{protocol}{family}")) for protocol in WAITING for family in ("", "6")]
    for protocol, table in tables:
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            local, port = fields[1].rsplit(":", 1)
            if fields[3] == WAITING[protocol] and (local in everywhere or own in everywhere or local == own):
                found.setdefault((protocol, int(port, 16)), set()).add(fields[9])
    return found


def owner_of(inodes: set[str]) -> str:
    """Name the process that holds one of the sockets, as far as this user may see: of a family the oldest."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    holders = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (process / "fd").iterdir()):
                started = int((process / "stat").read_text().rpartition(")")[2].split()[19])
                holders.append((started, f"{(process / 'comm').read_text().strip()} (pid {process.name})"))
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return min(holders)[1] if holders else ANOTHER_USER


def containers(module: AnsibleModule) -> list[dict[str, Any]]:
    """Return what `docker inspect` says of all containers of the engine, those included that do not run."""
    code, ids, _ = module.run_command(["docker", "ps", "--all", "--quiet"])
    if code != 0 or not ids.split():
        return []
    # One that is removed meanwhile is an error, and the others are printed all the same.
    _, out, _ = module.run_command(["docker", "inspect", *ids.split()])
    return list(json.loads(out or "[]"))


def engine_problems(module: AnsibleModule) -> list[str]:
    """Say when the engine that the user chose does not answer: nothing else about it could be right then."""
    chosen = os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT")
    if not chosen or not shutil.which("docker"):
        return []
    code, _, err = module.run_command(["docker", "version", "--format", "{{.Server.Version}}"])
    if code == 0:
        return []
    name = "DOCKER_HOST" if os.environ.get("DOCKER_HOST") else "DOCKER_CONTEXT"
    said = (err.strip().splitlines() or ["it said nothing"])[-1]
    return [f"{name} {chosen!r} names an engine that does not answer ({said}); start that engine, or unset {name}."]


def address_problems(module: AnsibleModule) -> list[str]:
    """Say when this machine does not have the address that ports are to be published on."""
    address = module.params["address"]
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return [
                f"stack_bind_address {address!r} cannot be used on this machine ({error.strerror}); use one of its own "
                "addresses (`ip -4 address` shows them), 127.0.0.1, or 0.0.0.0 for all."
            ]
    return []


def directory_problems(module: AnsibleModule) -> list[str]:
    """Say why the stack's files cannot be written, or must not be: another's directory would go with the stack."""
    stack = Path(module.params["stack_dir"])
    present = stack
    while not os.path.lexists(present):
        present = present.parent
    if not present.is_dir():
        return [f"stack_dir {str(stack)!r} is not possible: {present} is not a directory; use another path."]
    if not os.access(present, os.W_OK | os.X_OK):
        return [f"stack_dir {str(stack)!r} cannot be written: {present} belongs to another user; use another path."]
    free = shutil.disk_usage(present).free // 1024**2
    if free < MIN_STACK_MB:
        return [f"stack_dir {str(stack)!r} has {free} MB free; make room for {MIN_STACK_MB} MB there."]
    entries = {path.name for path in stack.iterdir()} if present == stack else set()
    if entries and not entries & STACK_ENTRIES:
        return [
            f"stack_dir {str(stack)!r} holds files that are not a stack's ({', '.join(sorted(entries)[:3])}); use a "
            "directory of its own, for `make destroy` deletes it."
        ]
    return []


def port_problems(module: AnsibleModule, inspected: list[dict[str, Any]]) -> list[str]:
    """Name the ports that somebody else holds, or that two services want."""
    problems = []
    listening, held = listening_inodes(module.params["address"]), published(inspected)
    # Whose ports the engine's own proxies hold, only the engine can tell.
    asked = not shutil.which("docker") or module.run_command(["docker", "ps", "--quiet"])[0] == 0
    unknown = () if asked else ("docker-proxy", ANOTHER_USER)
    variables: dict[tuple[str, int], list[str]] = {}
    for variable, port in module.params["ports"].items():
        protocol = "udp" if variable.endswith("_udp_port") else "tcp"
        variables.setdefault((protocol, int(port)), []).append(variable)
    for wanted, names in sorted(variables.items(), key=lambda item: item[0][1]):
        port = wanted[1]
        if len(names) > 1:
            problems.append(f"Port {port} is given to {' and '.join(sorted(names))}: give each its own.")
        container, project = held.get(wanted, ("", ""))
        if project == module.params["project"]:
            continue
        if container:
            problems.append(f"Port {port} is used by the container {container}: stop it, or set {names[0]}.")
        elif wanted in listening and not (owner := owner_of(listening[wanted])).startswith(unknown):
            problems.append(f"Port {port} is used by {owner}: stop it, or set {names[0]}.")
    return problems


def network_problems(module: AnsibleModule) -> list[str]:
    """Name what already uses the network's range: another network of the engine, or a route of the host."""
    wanted = ipaddress.ip_network(module.params["subnet"])
    own = f"{module.params['project']}_default"
    networks, engine_answers = [], False
    if shutil.which("docker"):
        form = "{{.Name}} {{range .IPAM.Config}}{{.Subnet}} {{end}}"
        code, ids, _ = module.run_command(["docker", "network", "ls", "--quiet"])
        engine_answers = code == 0
        _, out, _ = module.run_command(["docker", "network", "inspect", "--format", form, *ids.split()])
        networks = [line.split() for line in out.splitlines()]
    if any(name == own for name, *_ in networks):
        return []
    taken = [f"docker's network {name}" for name, *ranges in networks if any(overlaps(wanted, r) for r in ranges)]
    for line in ROUTES.read_text().splitlines()[1:]:
        device, destination, _, _, _, _, _, mask = line.split()[:8]
        if not engine_answers and ENGINE_BRIDGE.fullmatch(device):
            # Whose network this is only the engine knows: it takes up its own again, and the role removes the others.
            continue
        # Little-endian hexadecimal (proc(5)); the default route overlaps with everything and means nothing.
        address, bits = (socket.inet_ntoa(bytes.fromhex(value)[::-1]) for value in (destination, mask))
        if not taken and bits != "0.0.0.0" and overlaps(wanted, f"{address}/{bits}"):  # noqa: S104 -- a mask, no address
            taken.append(f"the host's route through {device}")
    return [
        f"The range {wanted} is used by {user}: set stack_network_subnet and stack_network_gateway to a free one."
        for user in taken
    ]


def overlaps(wanted: ipaddress.IPv4Network | ipaddress.IPv6Network, other: str) -> bool:
    """Tell whether the range `other` shares addresses with `wanted`."""
    return wanted.overlaps(ipaddress.ip_network(other, strict=False))


def memory_problems(module: AnsibleModule) -> list[str]:
    """Compare the machine's memory with what the stack asks for."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total = int(meminfo["MemTotal"].split()[0]) // 1024
    if total >= module.params["min_memory_mb"]:
        return []
    return [
        f"The machine has {total} MB of memory, the stack asks for {module.params['min_memory_mb']} MB: give it more, "
        "or take services out of stack_services and lower stack_min_memory_mb to match."
    ]


def disk_problems(module: AnsibleModule, missing: list[str]) -> list[str]:
    """Compare free disk space with what the images that are still to be built ask for."""
    if not missing:
        return []
    path = Path(module.params["disk_path"])
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free // 1024**2
    if free >= module.params["min_disk_mb"]:
        return []
    return [
        f"{path} has {free} MB free, the images ask for {module.params['min_disk_mb']} MB: make room "
        "(`docker system df` shows what the engine holds), or set stack_min_disk_mb if you know better."
    ]


def present_images(module: AnsibleModule) -> list[str]:
    """Return the images that the engine has, `<service>:<version>-<digits>` each, without the stack's prefix."""
    found = ""
    if shutil.which("docker"):
        _, found, _ = module.run_command(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
    prefix = f"{module.params['image_prefix']}/"
    return [image.removeprefix(prefix) for image in found.split() if image.startswith(prefix)]


def missing_images(module: AnsibleModule, present: list[str]) -> list[str]:
    """Return the services that have no image of any version yet."""
    there = {image.partition(":")[0] for image in present}
    return [service for service in module.params["services"] if service not in there]


def root_needs(module: AnsibleModule, missing: list[str]) -> list[str]:
    """Return everything that the roles will do as root."""
    services = set(module.params["services"])
    needs = [f"installing {name}" for name in ("docker", "mmdebstrap", "setfacl") if not shutil.which(name)]
    if shutil.which("docker"):
        needs += [
            f"installing docker {plugin}"
            for plugin in ("compose", "buildx")
            if module.run_command(["docker", plugin, "version"])[0] != 0
        ]
        if module.run_command(["docker", "version"])[0] != 0:
            needs.append("starting the engine or joining the group docker")
    if missing and module.params["builds"] and not module.params["registry"]:
        needs.append("bootstrapping the base image")
    tables = Path(module.params["delta_tables_dir"])
    if services & TABLE_SERVICES and not (tables.exists() and tables.stat().st_uid == os.geteuid()):
        needs.append(f"making {tables}")
    if module.params["private"]:
        needs.append("keeping other users away (stack_private)")
    return needs


def root_problems(module: AnsibleModule, missing: list[str]) -> list[str]:
    """Say when something needs root and there is no way to become it."""
    if os.geteuid() == 0 or module.params["may_become_root"]:
        return []
    needs = root_needs(module, missing)
    if not needs:
        return []
    if not shutil.which("sudo"):
        return [
            f"Root is needed for {', '.join(needs)}, and there is no sudo: let an administrator do that once, or run "
            "`make up` as root."
        ]
    if module.run_command(["sudo", "-n", "true"])[0] == 0:
        return []
    return [
        f"Root is needed for {', '.join(needs)}: run `make up` (it asks for sudo's password), or ansible-playbook -K."
    ]


def refuses(url: str) -> str:
    """Say why the server of `url` cannot be reached; empty where it can. A proxy stands for all servers."""
    parts = urllib.parse.urlsplit(url)
    proxy = os.environ.get(f"{parts.scheme}_proxy") or os.environ.get(f"{parts.scheme.upper()}_PROXY")
    target = urllib.parse.urlsplit(proxy) if proxy else parts
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
        socket.create_connection((target.hostname or "", port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def registry_problems(module: AnsibleModule, missing: list[str]) -> list[str]:
    """Ask the registries that the user's own configuration names, where something is still to be built."""
    if not missing or not module.params["builds"]:
        return []
    problems = []
    code, out, _ = module.run_command(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)", "Created-By: Packages"]
    )
    mirrors = [line.split("|")[0] for line in out.splitlines() if code == 0 and line.endswith("|Debian")]
    mirror = module.params["debian_mirror"] or next(iter(mirrors), "")
    if mirror and (reason := refuses(mirror)):
        problems.append(
            f"The Debian mirror {mirror} cannot be reached ({reason}): mend the network, or set stack_debian_mirror."
        )
    code, _, err = module.run_command(
        [module.params["python"], "-m", "pip", "--retries", "0", "--timeout", "10", "index", "versions", "uv"]
    )
    # A target that is not this controller need not have pip: the build steps bring theirs.
    if code != 0 and "No module named pip" not in err:
        last = err.strip().splitlines()[-1] if err.strip() else "no answer"
        problems.append(
            f"pip cannot reach its package index ({last}): mend the network, or `pip config set global.index-url`."
        )
    goproxy = os.environ.get("GOPROXY", "").replace("|", ",").split(",")[0]
    if goproxy.startswith("http") and (reason := refuses(goproxy)):
        problems.append(f"The Go module proxy {goproxy} cannot be reached ({reason}): mend the network or GOPROXY.")
    return problems


def image_problems(module: AnsibleModule, missing: list[str]) -> list[str]:
    """Look at the ways by which images come that are not built here."""
    problems = []
    if missing and not module.params["registry"] and not module.params["builds"]:
        problems.append(
            f"The engine has no image of {', '.join(missing)}, and stack_build_images is false: load them "
            "(`make images-load ARCHIVE=...`), set stack_registry, or let them be built."
        )
    return problems


def withholds(registry: str, path: str, version: str = "") -> str:
    """Say why a registry does not give what is at `path` (OCI distribution); empty where it does.

    With `version`, a list of tags is there, and one of them is to be of that version.
    """
    host, _, prefix = registry.partition("/")
    local = LOOPBACK.fullmatch(host) is not None
    url = "/".join(filter(None, (DEFAULT_HUB.get(host, host), "v2", prefix, path)))
    reasons = []
    # HTTP on another machine is for the engine to allow (`insecure-registries`), and it says so when it does not.
    for scheme in ("http",) if local else ("https", "http"):
        try:
            answer = open_url(
                f"{scheme}://{url}", headers={"Accept": MANIFESTS}, timeout=CONNECT_SECONDS, use_proxy=not local
            )
            if not version or any(tag.startswith(f"{version}-") for tag in json.load(answer)["tags"] or []):
                return ""
            reasons.append(f"it has none of {version}")
        except urllib.error.HTTPError as error:
            # The engine may have a login, or gets a token from the hub.
            if error.code == 401:
                return ""
            reasons.append("it is not there" if error.code == 404 else f"the answer is {error.code}")
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            reasons.append(str(getattr(error, "reason", error)))
    return reasons[0]


def hub_refusal(hub: str, images: list[str]) -> str:
    """Say which of the images the hub does not give, and why; empty where it gives them all."""
    for image in filter(None, map(PINNED.fullmatch, images)):
        if reason := withholds(hub, f"{image['name']}/manifests/{image['digest']}"):
            return f"{image['name']} ({reason})"
    return ""


def hub_problems(module: AnsibleModule, present: list[str]) -> list[str]:
    """Ask the hub for what is on hubs alone, unless the engine or the user's registry has the image made of it."""
    hub, registry = (module.params[name].rstrip("/") for name in ("image_hub", "registry"))
    problems = []
    for role, images in module.params["hub_images"].items():
        problems += [
            f"{variable} {image} has no digest: write name:tag@sha256:<64 digits>."
            for variable, image in images.items()
            if not PINNED.fullmatch(image)
        ]
        service = role.replace("_", "-")
        pinned = PINNED.fullmatch(images.get(f"{role}_image", ""))
        version = pinned["tag"] if pinned else ""
        if not module.params["builds"] or any(image.startswith(f"{service}:{version}-") for image in present):
            continue
        if registry and not withholds(registry, f"{service}/tags/list", version):
            continue
        if refusal := hub_refusal(hub, list(images.values())):
            profile = next((name for name, roles in module.params["profiles"].items() if role in roles), role)
            problems.append(
                f"The profile {profile} needs an image that is on hubs alone, and {hub} does not give {refusal}: set "
                "stack_image_hub to a mirror that does, or stack_registry to a registry of yours that has the stack's "
                f"images, or leave {profile} out: the live page that `make status` names shows the pipeline without it."
            )
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "dict", "required": True},
            "address": {"type": "str", "required": True},
            "project": {"type": "str", "required": True},
            "stack_dir": {"type": "path", "required": True},
            "subnet": {"type": "str", "required": True},
            "min_memory_mb": {"type": "int", "required": True},
            "min_disk_mb": {"type": "int", "required": True},
            "disk_path": {"type": "path", "default": "/var/lib/docker"},
            "services": {"type": "list", "elements": "str", "required": True},
            "image_prefix": {"type": "str", "required": True},
            "registry": {"type": "str", "default": ""},
            "builds": {"type": "bool", "default": True},
            "image_hub": {"type": "str", "default": "docker.io"},
            "hub_images": {"type": "dict", "default": {}},
            "profiles": {"type": "dict", "default": {}},
            "debian_mirror": {"type": "str", "default": ""},
            "python": {"type": "str", "required": True},
            "may_become_root": {"type": "bool", "required": True},
            "delta_tables_dir": {"type": "path", "required": True},
            "private": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    # About an engine that does not answer nothing else can be said: its ports and images are unknown.
    if problems := engine_problems(module):
        module.exit_json(changed=False, problems=problems)
    present = present_images(module)
    missing = missing_images(module, present)
    inspected = containers(module)
    project, tables = module.params["project"], module.params["delta_tables_dir"]
    problems = [
        *owner_problems(inspected, project, module.params["stack_dir"]),
        *(table_problems(inspected, project, tables) if TABLE_SERVICES & set(module.params["services"]) else []),
        *directory_problems(module),
        *memory_problems(module),
        *disk_problems(module, missing),
        *address_problems(module),
        *port_problems(module, inspected),
        *network_problems(module),
        *root_problems(module, missing),
        *registry_problems(module, missing),
        *image_problems(module, missing),
        *hub_problems(module, present),
    ]
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()
