"""The decisions of `declare_service`, and what it makes of a directory of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.template import Templar, trust_as_template
from declarations import load, loader, missing_images, plugin


def rendering(directory: Path, **variables: object) -> Any:
    """Return a role whose templates are in the directory."""
    return plugin.Role(Templar(loader(), variables=variables), variables, directory)


def test_templates_are_rendered_and_other_files_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "build" / "bin").mkdir(parents=True)
    (tmp_path / "build" / "bin" / "start").write_text("echo {{ not_a_variable }}\n")
    (tmp_path / "build" / "config.yml.j2").write_text("port: {{ port }}\n")

    assert rendering(tmp_path, port=9092).tree("build") == {
        "bin/start": "echo {{ not_a_variable }}\n",
        "config.yml": "port: 9092\n",
    }


def test_template_that_renders_to_nothing_gives_no_file(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "old.xml.j2").write_text("{% if mode == 'old' %}\n<project/>\n{% endif %}\n")

    assert rendering(tmp_path, mode="new").tree("config") == {}
    assert rendering(tmp_path, mode="old").tree("config") == {"old.xml": "<project/>\n"}


def test_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert rendering(tmp_path).tree("private") == {}


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "image.png").write_bytes(b"\x89PNG\xff")

    with pytest.raises(AnsibleActionFail, match=r"image\.png is not UTF-8 text"):
        rendering(tmp_path).tree("build")


def test_template_with_an_unknown_variable_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "a.yml.j2").write_text("port: {{ kafka_prot }}\n")

    with pytest.raises(AnsibleActionFail, match=r"config/a\.yml\.j2: .*'kafka_prot' is undefined"):
        rendering(tmp_path).tree("config")


def test_image_is_named_by_the_content_of_its_context() -> None:
    name = plugin.image_name("cdc-workstation", "kafka", "4.1.0", {"Dockerfile": "FROM scratch", "a": "1"})

    assert name == plugin.image_name("cdc-workstation", "kafka", "4.1.0", {"a": "1", "Dockerfile": "FROM scratch"})
    assert name != plugin.image_name("cdc-workstation", "kafka", "4.1.0", {"Dockerfile": "FROM scratch", "a": "2"})
    assert name.startswith("cdc-workstation/kafka:4.1.0-")


def test_container_is_recreated_for_configuration_and_secrets() -> None:
    digests = {
        plugin.config_digest("recreate", {"a": config}, {"b": private}, {"password": secret})
        for config, private, secret in [("1", "1", "1"), ("2", "1", "1"), ("1", "2", "1"), ("1", "1", "2")]
    }

    assert len(digests) == 4


def test_service_that_reloads_keeps_its_container() -> None:
    assert plugin.config_digest("reload", {"a": "1"}, {}, {}) == plugin.config_digest("reload", {"a": "2"}, {}, {})


@pytest.mark.parametrize(
    ("wanted", "known", "kept"), [("mine", "old", "mine"), ("", "old", "old"), (None, "old", "old"), (123, "", "123")]
)
def test_secret_is_the_users_own_or_the_one_that_is_kept(wanted: object, known: str, kept: str) -> None:
    assert plugin.settled({"password": wanted}, {"password": known, "other": "x"}) == {"password": kept}


def test_new_secret_is_generated() -> None:
    first, second = plugin.settled({"a": "", "b": ""}, {}).values()

    assert len(first) == len(second) == 32
    assert first != second


def test_fragment_wins_over_the_hardening() -> None:
    hardening = {"read_only": True, "tmpfs": ["/tmp"], "environment": {"TZ": "UTC"}}  # noqa: S108
    own = {"image": "a", "mem_limit": "1m", "read_only": False, "tmpfs": ["/run", "/tmp"], "environment": {"A": "1"}}  # noqa: S108

    fragment = plugin.hardened({"services": {"a": own}, "volumes": {"data": None}}, hardening, "digest")

    assert fragment["volumes"] == {"data": None}
    assert fragment["services"]["a"] == {
        "image": "a",
        "mem_limit": "1m",
        "memswap_limit": "1m",
        "read_only": False,
        "tmpfs": ["/run", "/tmp"],  # noqa: S108
        "environment": {"TZ": "UTC", "A": "1"},
        "labels": {"cdc-workstation.config-digest": "digest"},
    }


def test_lists_of_hardening_and_fragment_are_joined() -> None:
    assert plugin.merged(["a", "b"], ["c", "a"]) == ["b", "c", "a"]


def test_scrape_target_has_the_usual_path() -> None:
    [group] = plugin.scrape_targets([{"job": "kafka", "target": "kafka:9404"}])

    assert group == {"targets": ["kafka:9404"], "labels": {"job": "kafka", "__metrics_path__": "/metrics"}}


def test_missing_images_follow_those_that_they_build_on() -> None:
    images = {
        "debezium": {"name": "cdc/debezium:1", "context": {"Dockerfile": "FROM cdc/kafka:1\n"}},
        "kafka": {"name": "cdc/kafka:1", "context": {"Dockerfile": "FROM debian\n"}},
    }
    declared = {"cdc_images": images, "cdc_services": {"debezium": {}}}

    def needed(*present: str) -> list[str]:
        return [image["name"] for image in missing_images({**declared, "cdc_machine": {"images": list(present)}})]

    assert needed() == ["cdc/kafka:1", "cdc/debezium:1"]
    assert needed("cdc/kafka:1") == ["cdc/debezium:1"]
    # Nothing that is missing builds on it, and no declared service runs it.
    assert needed("cdc/debezium:1") == []


def test_nothing_is_missing_if_nothing_is_declared() -> None:
    assert missing_images({}) == []


given = load("roles/stack/lookup_plugins/environment.py").given


def test_environment_has_what_is_set_and_not_empty() -> None:
    assert given(["GOPROXY", "GOSUMDB", "PIP_INDEX_URL"], {"GOPROXY": "direct", "GOSUMDB": ""}) == {"GOPROXY": "direct"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_proxy_is_known_in_both_spellings(name: str) -> None:
    found = given(["HTTPS_PROXY", "NO_PROXY"], {name: "http://proxy.example:3128"}, both_spellings=True)

    assert found == {"HTTPS_PROXY": "http://proxy.example:3128", "https_proxy": "http://proxy.example:3128"}


def setting(name: str, **variables: object) -> Any:
    templar = Templar(loader(), variables=variables)
    return templar.evaluate_expression(trust_as_template(f"lookup('setting', '{name}')"))


def test_setting_of_another_role_is_its_default_or_the_users_value() -> None:
    assert setting("mysql_database") == "cdcdb"
    assert setting("mysql_database", mysql_database="shop") == "shop"


def test_setting_that_is_worked_out_from_others_takes_their_defaults() -> None:
    stack = {"stack_network_gateway": "172.30.57.1", "stack_services": ["minio"]}

    assert setting("spark_s3_endpoint", **stack) == "http://172.30.57.1:9000"
    assert setting("spark_s3_endpoint", **stack, minio_port=19000) == "http://172.30.57.1:19000"


def test_setting_belongs_to_the_role_with_the_longest_name(tmp_path: Path) -> None:
    for name in ("mysql", "mysql_client"):
        (tmp_path / name).mkdir()
    owner = load("roles/stack/lookup_plugins/setting.py").owner

    assert owner("mysql_client_package", tmp_path) == "mysql_client"
    assert owner("mysql_port", tmp_path) == "mysql"


@pytest.mark.parametrize("name", ["oracle_port", "mysql_prot"])
def test_unknown_setting_is_an_error(name: str) -> None:
    with pytest.raises(Exception, match=name):
        setting(name)
