"""What `cdc-workstation status` says of good and bad states."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cdc_workstation.cli.status_model import Alert, ConnectorState, Status, TableState
from cdc_workstation.cli.status_reading import alerts_of, connectors_of, services_of, size, tables_of
from cdc_workstation.cli.status_view import render, seconds

CONFIG = {"connector.class": "io.debezium.connector.mysql.MySqlConnector", "topic.prefix": "debezium"}
TRACE = """org.apache.kafka.connect.errors.ConnectException: An exception occurred in the change event producer.
\tat io.debezium.pipeline.ErrorHandler.setProducerThrowable(ErrorHandler.java:88)
Caused by: io.debezium.DebeziumException: Cannot replicate because the source purged required binary logs. Replicate \
the missing transactions from elsewhere, or provision a new replica from backup.
\tat com.github.shyiko.mysql.binlog.BinaryLogClient.listenForEventPackets(BinaryLogClient.java:1064)
"""


def metrics(**samples: dict[str, float]) -> str:
    """The sink's metrics: for each metric its value by table."""
    return "\n".join(
        f'cdc_{name}{{table="{table}"}} {value}' for name, values in samples.items() for table, value in values.items()
    )


def text(status: Status, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(render(status, **options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def container(name: str, status: str = "Up 5 minutes (healthy)", state: str = "running") -> dict[str, Any]:
    labels = f"cdc-workstation.version=1.0,com.docker.compose.oneoff=False,com.docker.compose.service={name}"
    return {"ID": f"{name:x<12}", "Labels": labels, "State": state, "Status": status}


def test_tables_in_trouble_come_first() -> None:
    found = tables_of(
        metrics(
            sink_lag_offsets={"a.fine": 0, "b.behind": 3, "c.drifted": 0, "d.stopped": 9},
            sink_table_stopped={"d.stopped": 1},
            drift_rows={"c.drifted": -2},
        ),
        {},
    )

    assert [(one.name, one.state) for one in found] == [
        ("c.drifted", "drift: -2 rows"),
        ("d.stopped", "stopped"),
        ("b.behind", "behind"),
        ("a.fine", "in step"),
    ]


def test_lag_of_a_change_long_ago_is_not_shown() -> None:
    lags = metrics(
        sink_lag_seconds={"a.idle": 253.0, "b.live": 0.4, "c.behind": 12.0}, sink_lag_offsets={"c.behind": 5}
    )

    found = {one.name: one.lag_seconds for one in tables_of(lags, {"b.live": 0.4})}

    assert found == {"a.idle": None, "b.live": 0.4, "c.behind": 12.0}


def test_changes_of_all_kinds_are_summed_and_the_canary_is_no_table() -> None:
    lines = (
        'cdc_sink_rows_applied_total{op="c",table="a.t"} 2.0\ncdc_sink_rows_applied_total{op="u",table="a.t"} 3.0\n'
        'cdc_sink_rows_applied_total{op="u",table="_cdc.canary"} 3.0'
    )

    assert [(one.name, one.applied) for one in tables_of(lines, {})] == [("a.t", 5)]


def test_connector_error_is_shown_whole() -> None:
    status = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "FAILED", "trace": TRACE}]}

    (found,) = connectors_of({"c": status}, {"c": CONFIG}, {})
    shown = " ".join(text(Status(connectors=(found,))).split())

    assert found.health == "bad"
    assert "DebeziumException: Cannot replicate because the source purged required binary logs" in shown
    assert "or provision a new replica from backup." in shown


def test_failed_connectors_come_first() -> None:
    running = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]}
    failed = {"connector": {"state": "FAILED", "trace": TRACE}, "tasks": []}

    found = connectors_of({"a": running, "b": failed}, {"a": CONFIG, "b": CONFIG}, {"mysql/debezium": 0.25})

    assert [(one.name, one.health) for one in found] == [("b", "bad"), ("a", "good")]
    assert found[1].lag_seconds == 0.25


def test_connector_without_a_status_yet_does_not_capture() -> None:
    (found,) = connectors_of({}, {"new": CONFIG}, {})

    assert (found.state, found.health) == ("UNASSIGNED", "bad")


@pytest.mark.parametrize(
    ("status", "state", "health"),
    [
        ("Up 5 minutes (healthy)", "running", "good"),
        ("Up 5 minutes (unhealthy)", "running", "bad"),
        ("Up 2 seconds (health: starting)", "running", "busy"),
        ("Up 5 minutes", "running", "good"),
        ("Exited (137) 2 minutes ago", "exited", "bad"),
    ],
)
def test_health_of_a_container(status: str, state: str, health: str) -> None:
    (found,) = services_of([container("kafka", status, state)], [])

    assert found.health == health


def test_services_have_their_memory_and_the_sick_come_first() -> None:
    stats = [{"ID": "kafkaxxxxxxx", "MemUsage": "1.5MiB / 2GiB"}]

    found = services_of([container("kafka"), container("mysql", state="exited", status="Exited (1)")], stats)

    assert [one.name for one in found] == ["mysql", "kafka"]
    assert (found[1].memory, found[1].limit, found[1].version) == (3 * 2**19, 2**31, "1.0")


def test_firing_critical_alerts_come_first() -> None:
    alerts = [
        {"labels": {"alertname": "B", "severity": "warning", "table": "x"}, "state": "firing"},
        {"labels": {"alertname": "A", "severity": "warning"}, "state": "pending"},
        {"labels": {"alertname": "C", "severity": "critical"}, "state": "firing"},
    ]

    assert [one.name for one in alerts_of(alerts)] == ["C", "B", "A"]


@pytest.mark.parametrize(
    ("status", "health", "said"),
    [
        (Status(), "good", "Nothing of the stack runs here."),
        (Status(tables=(TableState("a.t"),)), "good", "All is well"),
        (Status(tables=(TableState("a.t", behind=3),)), "busy", "1 table is catching up."),
        (Status(tables=(TableState("a.t", trouble="stopped"),)), "bad", "1 table is in trouble (a.t)."),
        (
            Status(tables=(TableState("a.t"),), alerts=(Alert("A", "", "warning", "pending"),)),
            "busy",
            "1 alert is pending.",
        ),
        (Status(connectors=(ConnectorState("c", "FAILED"),)), "bad", "1 connector does not capture (c)."),
        (Status(tables=(TableState("a.t"),), unreachable=("Kafka Connect: silent.",)), "bad", "Kafka Connect: silent."),
    ],
)
def test_verdict_on_the_whole(status: Status, health: str, said: str) -> None:
    assert status.health == health
    assert said in status.sentence()


def test_many_tables_in_step_are_counted() -> None:
    tables = (TableState("z.bad", trouble="stopped"), *(TableState(f"a.t{number:03}") for number in range(100)))

    shown = text(Status(tables=tables))

    assert "z.bad" in shown
    assert "and 80 more in step (--all lists them)" in shown
    assert "a.t099" in text(Status(tables=tables), all_tables=True)


def test_json_has_the_verdict_of_each_part() -> None:
    document = Status(tables=(TableState("a.t", behind=3),)).as_json()

    assert document["health"] == "busy"
    assert document["tables"][0] | {"state": "behind", "health": "busy", "behind": 3} == document["tables"][0]


def test_markup_in_names_is_text() -> None:
    assert "a.[red]t" in text(Status(tables=(TableState("a.[red]t"),)))


@pytest.mark.parametrize(("value", "said"), [(0.0421, "42 ms"), (3.21, "3.2 s"), (600, "10 min"), (None, "")])
def test_durations(value: float | None, said: str) -> None:
    assert seconds(value) == said


@pytest.mark.parametrize(("given", "expected"), [("36.5MiB", int(36.5 * 2**20)), ("0B", 0), ("--", 0), ("", 0)])
def test_sizes(given: str, expected: int) -> None:
    assert size(given) == expected
