"""Preflight's look at settings, on the controller: wrong types, and names that are no setting."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

SPECS = {
    "kafka": {
        "kafka_port": {"type": "int"},
        "kafka_memory": {"type": "str"},
        "kafka_listener": {"type": "dict", "options": {"port": {"type": "int"}}},
        "kafka_log_level": {"type": "str", "choices": ["INFO", "WARN"]},
    },
    "mysql": {"mysql_port": {"type": "int"}},
    "stack": {"stack_profiles": {"type": "list", "elements": "str", "choices": ["core", "storage"]}},
}
FACTS = {"distribution": "Debian", "distribution_major_version": "12", "python": {"version": {"major": 3, "minor": 11}}}


@pytest.fixture(scope="session")
def plugin(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("roles/stack/action_plugins/preflight.py")


@pytest.fixture
def setting_problems(plugin: Any) -> Any:
    """Return the problems of a role's settings, given as variables."""

    def problems(*, roles: tuple[str, ...] = ("kafka",), **variables: Any) -> list[str]:
        action = plugin.ActionModule.__new__(plugin.ActionModule)
        action._templar = Templar(DataLoader(), variables=variables)
        action._task = SimpleNamespace(args={"internal": ["kafka_base"]})
        found: list[str] = action._setting_problems({role: SPECS[role] for role in roles}, SPECS, variables)
        return found

    return problems


def test_right_settings_are_no_problem(setting_problems: Any) -> None:
    assert setting_problems(kafka_port=9092, kafka_memory="512m", kafka_log_level="INFO") == []


def test_a_number_that_is_written_as_text_is_no_problem(setting_problems: Any) -> None:
    assert setting_problems(kafka_port="9092") == []


def test_a_wrong_type_names_the_setting_and_the_right_one(setting_problems: Any) -> None:
    assert setting_problems(kafka_port="a lot") == ["kafka_port 'a lot' is not a whole number; use digits alone."]


def test_what_a_mapping_holds_is_judged_with_where_to_read(setting_problems: Any) -> None:
    [problem] = setting_problems(kafka_listener={"port": "a lot"})

    assert problem.startswith("kafka: ")
    assert "argument 'port' is of type str found in 'kafka_listener'" in problem
    assert problem.endswith("See roles/kafka/README.md.")


def test_a_value_outside_of_the_choices_names_them(setting_problems: Any) -> None:
    [problem] = setting_problems(kafka_log_level="LOUD")

    assert problem == "kafka_log_level 'LOUD' is not valid; use one of: INFO, WARN."


def test_an_unknown_profile_is_named_with_those_that_there_are(setting_problems: Any) -> None:
    [problem] = setting_problems(roles=("stack",), stack_profiles=["core", "storag"])

    assert problem == "stack_profiles names storag; use any of: core, storage."


def test_an_unknown_setting_is_named_with_the_one_that_was_meant(setting_problems: Any) -> None:
    assert setting_problems(kafka_prot=1) == ["kafka_prot is not a setting of any role. Did you mean kafka_port?"]


def test_a_typing_error_in_the_roles_name_is_found_too(setting_problems: Any) -> None:
    assert setting_problems(kakfa_port=1) == ["kakfa_port is not a setting of any role. Did you mean kafka_port?"]


def test_settings_of_a_role_that_is_not_deployed_are_known(setting_problems: Any) -> None:
    assert setting_problems(mysql_port=3306) == []


def test_variables_of_the_users_own_and_of_ansible_are_left_alone(setting_problems: Any) -> None:
    own = {
        "my_team": "data",
        "ansible_host": "127.0.0.1",
        "inventory_hostname": "x",
        "__kafka_found": 1,
        "kafka_base": 1,
    }

    assert setting_problems(**own) == []


def test_a_value_that_only_the_run_can_compute_is_left_to_the_role(setting_problems: Any) -> None:
    assert setting_problems(kafka_port=trust_as_template("{{ found_out_later }}")) == []


def test_a_system_that_is_supported_is_no_problem(plugin: Any) -> None:
    assert plugin.ActionModule._platform_problems(FACTS) == []


def test_an_unsupported_system_and_python_are_both_named(plugin: Any) -> None:
    facts = FACTS | {"distribution_major_version": "11", "python": {"version": {"major": 3, "minor": 9}}}

    problems = plugin.ActionModule._platform_problems(facts)

    assert [problem.split(" is not supported")[0] for problem in problems] == ["Debian 11", "Python 3.9"]
