"""The page of `make status`: what it says of good and bad states, and that it stands alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cdc_workstation.status_page import (
    AlertStates,
    Chart,
    History,
    Status,
    arrows,
    boxes,
    chart,
    in_seconds,
    lanes,
    render,
    ticks,
    verdict,
)

START = 1_790_000_000.0
END = START + 900


def status(**changed: Any) -> dict[str, Any]:
    """A small stack in which all is well, but for what is `changed`."""
    services = ["mysql", "postgres", "kafka", "debezium", "delta-sink", "prometheus", "alertmanager"]
    return {
        "services": [
            {"name": name, "state": "healthy", "memory": 2**27, "limit": 2**28, "url": "", "version": "1.0"}
            for name in services
        ],
        "connectors": [
            {"name": "c-mysql", "state": "RUNNING", "tasks": ["RUNNING"], "plugin": "mysql", "prefix": "p", "lag": 0.2}
        ],
        "tables": [{"name": "cdcdb.products", "applied": 5, "lag": 0.4, "version": 3}],
        "history": history(),
        **changed,
    }


def history(**changed: Any) -> dict[str, Any]:
    return {
        "answers": True,
        "start": START,
        "end": END,
        "step": 15,
        "connector_lag": [{"plugin": "mysql", "prefix": "p", "points": [[START, 0.1], [START + 15, 7.5]]}],
        "table_lag": {"cdcdb.products": [[START + 30, 0.5], [START + 45, 61.0]]},
        "table_rate": {"cdcdb.products": [[START + 30, 2.0], [START + 45, 12.5]]},
        "alert_states": [],
        "alerts": [],
        **changed,
    }


def alert(name: str, severity: str, state: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"{name} summary"},
        "state": state,
        "activeAt": "2026-09-21T14:00:00Z",
    }


class Page(HTMLParser):
    """Counts elements, and collects what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "srcset", "data", "xlink:href")]


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    return page


def test_the_page_fetches_nothing() -> None:
    page = render(status(), "cdc-workstation")

    parsed = read(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert parsed.fetched == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_all_is_well() -> None:
    page = render(status(), "cdc-workstation")

    assert "Every service is healthy, every table is in step, no alert fires." in page
    assert "No alert fires." in page
    assert "61.0 s" in page


def test_table_says_what_keeps_it_from_its_source() -> None:
    tables = [
        {"name": "a", "trouble": "waits for a snapshot"},
        {"name": "b", "trouble": "drift: +3 rows", "behind": 1},
        {"name": "c", "behind": 1},
    ]

    assert [(one.word, one.health) for one in Status.model_validate(status(tables=tables)).tables] == [
        ("waits for a snapshot", "bad"),
        ("drift: +3 rows", "bad"),
        ("behind", "busy"),
    ]


def test_names_of_tables_are_text_and_not_markup() -> None:
    table = {"name": "<script>alert(1)</script>", "lag": 0.1}

    page = render(status(tables=[table]), "a & b")

    assert "script" not in read(page).tags
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"services": [{"name": "kafka", "state": "exited"}]}, "1 service is not healthy."),
        ({"connectors": [{"name": "c", "state": "RUNNING", "tasks": ["FAILED"]}]}, "1 connector does not capture."),
        ({"connectors": [{"name": "c", "state": "RUNNING", "tasks": []}]}, "1 connector does not capture."),
        ({"tables": [{"name": "a", "stopped": True}, {"name": "b", "stopped": True}]}, "2 tables take no changes."),
        ({"history": history(alerts=[alert("ServiceDown", "critical")])}, "1 alert fires."),
        ({"history": {"answers": False, "start": START, "end": END}}, "Prometheus does not answer."),
    ],
)
def test_the_verdict_names_what_is_wrong(changed: dict[str, Any], said: str) -> None:
    assert verdict(Status.model_validate(status(**changed))) == ("bad", said)
    assert said in render(status(**changed), "cdc-workstation")


def test_a_table_that_is_behind_is_catching_up() -> None:
    found = status(tables=[{"name": "a", "behind": 7}])

    assert verdict(Status.model_validate(found)) == ("busy", "1 table is catching up.")


def test_a_pending_alert_does_not_fire() -> None:
    found = status(history=history(alerts=[alert("CdcLagHigh", "warning", state="pending")]))

    assert verdict(Status.model_validate(found))[0] == "good"


def test_a_stack_without_databases_shows_them_as_absent() -> None:
    found = Status.model_validate(status(services=[{"name": "alertmanager", "state": "healthy"}], connectors=[]))

    drawn = {box.title: box for box in boxes(found)}
    assert drawn["MySQL"].state == "absent"
    assert drawn["MySQL"].lines == ["not in this stack"]
    assert drawn["Alertmanager"].state == "good"


def test_no_stack_at_all_is_a_page_too() -> None:
    page = render({"services": [], "connectors": [], "tables": [], "history": {}}, "cdc-workstation")

    assert "Nothing of the stack is here." in page


def test_a_failed_task_colours_its_way_into_kafka() -> None:
    found = Status.model_validate(
        status(connectors=[{"name": "c", "state": "RUNNING", "tasks": ["FAILED"], "plugin": "mysql"}])
    )

    assert {box.title: box.state for box in boxes(found)}["Debezium"] == "bad"
    assert arrows(found)[0].state == "bad"


def test_a_line_has_a_gap_where_nothing_was_measured() -> None:
    span = History.model_validate(history())

    drawn = chart([(START, 1.0), (START + 15, 2.0), (START + 300, 4.0), (START + 315, 3.0)], span)

    assert drawn.path.count("M") == 2
    assert (drawn.peak, drawn.last) == (4.0, 3.0)


def test_a_sample_that_stands_alone_is_a_dot() -> None:
    drawn = chart([(START + 450, 4.0)], History.model_validate(history()))

    assert drawn == Chart("", [(100.0, 2.0)], 4.0, 4.0)


def test_a_quiet_line_stays_at_the_bottom() -> None:
    drawn = chart([(START, 0.01), (START + 15, 0.02)], History.model_validate(history()))

    assert all(float(y) > 30 for y in re.findall(r" (\d+(?:\.\d+)?)(?: L|$)", drawn.path))


def test_an_alert_has_one_lane_with_its_pending_and_firing_spans() -> None:
    labels = {"__name__": "ALERTS", "alertname": "CdcLagHigh", "severity": "warning", "table": "a"}
    found = lanes(
        History.model_validate(
            history(
                alert_states=[
                    AlertStates(labels={**labels, "alertstate": "pending"}, points=[(START, 1.0)]),
                    AlertStates(
                        labels={**labels, "alertstate": "firing"},
                        points=[(START + 15, 1.0), (START + 30, 1.0), (START + 600, 1.0)],
                    ),
                ]
            )
        )
    )

    assert [lane.title for lane in found] == ["CdcLagHigh a"]
    assert [span.state for span in found[0].spans] == ["pending", "firing", "firing"]


def test_ticks_are_full_five_minutes() -> None:
    found = ticks(History.model_validate(history()))

    assert len(found) == 3
    assert all(name[-1] in "05" and 0 < position <= 1 for position, name in found)


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0.25, "250 ms"), (2.04, "2.0 s"), (600.0, "10 min")])
def test_durations_are_written_for_readers(value: float | None, text: str) -> None:
    assert in_seconds(value) == text


def registered(prefix: str) -> dict[str, Any]:
    """What Kafka Connect tells of a connector of MySQL."""
    config = {"connector.class": "io.debezium.connector.mysql.MySqlConnector", "topic.prefix": prefix}
    return {"info": {"config": config}, "status": {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]}}


class Services(BaseHTTPRequestHandler):
    """Answers like Prometheus and Kafka Connect do: lags of two connectors, one series with a value that is none."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query).get("query", [""])[0]
        data: dict[str, Any] = {"result": []}
        if parts.path == "/connectors":
            return self.answer({"own": registered("debezium"), "a-test": registered("test")})
        if parts.path == "/api/v1/query":
            lags = (("debezium", "250"), ("test", "298000"))
            data = {"result": [{"metric": {"plugin": "mysql", "name": n}, "value": [END, lag]} for n, lag in lags]}
        elif parts.path == "/api/v1/alerts":
            data = {"alerts": [alert("ServiceDown", "critical")]}
        elif query.startswith("max by (table)"):
            data = {"result": [{"metric": {"table": "a"}, "values": [[START, "1.5"], [START + 15, "NaN"]]}]}
        return self.answer({"status": "success", "data": data})

    def answer(self, content: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name in the base class
        """Say nothing."""


@pytest.fixture
def services() -> Any:
    server = HTTPServer(("127.0.0.1", 0), Services)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def inspected(url: str) -> str:
    return json.dumps(
        [
            {
                "Id": name,
                "Config": {"Labels": {"com.docker.compose.service": name, "cdc-workstation.url": url}},
                "State": {"Status": "running"},
                "HostConfig": {"Memory": 1},
            }
            for name in ("prometheus", "debezium")
        ]
    )


@pytest.fixture
def gathered(module: Callable[..., dict[str, Any]], program: Callable[[str, str], dict[str, str]]) -> Any:
    """What the module returns where Prometheus and Kafka Connect are at an address."""

    def at(url: str) -> dict[str, Any]:
        script = f"case $1 in ps) echo prometheus debezium;; inspect) echo '{inspected(url)}';; esac"
        environment = {**program("docker", script), "no_proxy": "127.0.0.1"}
        return module("stack/library/stack_status.py", environment, project="p", history_seconds=900)

    return at


def test_the_module_reads_prometheus_and_leaves_out_what_is_no_number(gathered: Any, services: str) -> None:
    found = gathered(services)

    assert found["history"]["answers"] is True
    assert found["history"]["table_lag"] == {"a": [[START, 1.5]]}
    assert "1 alert fires." in render(found, "p")


def test_a_connector_has_its_own_lag_beside_another_of_the_same_plugin(gathered: Any, services: str) -> None:
    found = gathered(services)

    assert {connector["name"]: connector["lag"] for connector in found["connectors"]} == {"own": 0.25, "a-test": 298.0}


def test_a_prometheus_that_does_not_answer_is_said(gathered: Any) -> None:
    found = gathered("http://127.0.0.1:9")

    assert found["history"]["answers"] is False
    assert "Prometheus does not answer" in render(found, "p")
