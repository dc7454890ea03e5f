"""Both databases as an application meets them: logging in, being refused, transactions, text, restarts."""

from __future__ import annotations

import socket
import threading
from decimal import Decimal

import pytest
from containers import container
from source import Source, answer, answers
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from cdc_workstation.clients.connect import ConnectClient
from cdc_workstation.clients.kafka import CONNECTOR_CLASSES, find_connector
from cdc_workstation.settings import Settings

pytestmark = pytest.mark.uses("databases")

IDENTITY = {
    "mysql": "SELECT CURRENT_USER(), DATABASE(), SUBSTRING_INDEX(VERSION(), '.', 2)",
    "postgres": "SELECT user, current_database(), current_setting('server_version_num')::int / 10000",
}
# An LTS release of MySQL.
VERSIONS = {"mysql": "9.7", "postgres": 17}
SAMPLES = {
    "mysql": ("products", "inventory_transactions", "suppliers"),
    "postgres": ("customers", "products", "orders", "order_items"),
}


def test_application_user_reaches_the_sample_database(source: Source, stack_settings: Settings) -> None:
    users = {"mysql": f"{stack_settings.mysql_user}@%", "postgres": stack_settings.postgres_user}
    names = {"mysql": stack_settings.mysql_database, "postgres": stack_settings.postgres_database}

    found = answer(source.connection, IDENTITY[source.kind])

    assert found == (users[source.kind], names[source.kind], VERSIONS[source.kind])
    for table in SAMPLES[source.kind]:
        assert answer(source.connection, f"SELECT COUNT(*) FROM {table}")[0] > 0, table


def test_wrong_password_is_refused_and_not_repeated_in_the_message(source: Source) -> None:
    refusal = {"mysql": r"^1045 .*Access denied", "postgres": "password authentication failed"}

    with pytest.raises(source.error, match=refusal[source.kind]) as refused:
        source.connect(password="wrong")

    assert source.parameters["password"] not in str(refused.value)


def test_unknown_host_is_told_from_a_refused_login(source: Source) -> None:
    # CR_UNKNOWN_HOST or CR_CONN_HOST_ERROR.
    unknown = {"mysql": r"^200[35]\b", "postgres": r"resolve host|could not translate host name"}

    # `.invalid` never resolves (RFC 2606).
    with pytest.raises(source.error, match=unknown[source.kind]):
        source.connect(host=f"{source.kind}.invalid")


def test_server_that_never_answers_ends_in_a_timeout(source: Source) -> None:
    # PostgreSQL's client knows no shorter one.
    timeout = {"mysql": {"connection_timeout": 1}, "postgres": {"connect_timeout": 2}}[source.kind]
    result: list[BaseException] = []

    # A port that takes connections and says nothing, as a hung server does.
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect() -> None:
            try:
                source.connect(host="127.0.0.1", port=silent.getsockname()[1], **timeout)
            except BaseException as error:
                result.append(error)

        attempt = threading.Thread(target=connect, daemon=True)
        attempt.start()
        attempt.join(timeout=10)

    assert not attempt.is_alive(), f"the client still waits after 10 s, with {timeout}"
    assert isinstance(result[0], source.error)


@pytest.mark.exclusive("databases")
def test_client_reconnects_after_a_restart_and_capture_goes_on(
    source: Source, stack_settings: Settings, connect_client: ConnectClient
) -> None:
    identity = {"mysql": "SELECT @@server_uuid", "postgres": "SELECT system_identifier FROM pg_control_system()"}
    table = source.table("id INT PRIMARY KEY")
    source.execute(f"INSERT INTO {table} VALUES (1)")
    server = answer(source.connection, identity[source.kind])
    events = source.events(table, from_beginning=True)
    events.take(1)

    container(stack_settings, source.kind).restart(timeout=30)

    with pytest.raises(source.error):
        answer(source.connection, "SELECT 1")
    again = Retrying(
        retry=retry_if_exception_type(source.error), stop=stop_after_delay(90), wait=wait_fixed(0.2), reraise=True
    )(source.reconnect)
    with again:
        assert answer(again, identity[source.kind]) == server
        with again.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} VALUES (2)")
        assert answer(again, f"SELECT COUNT(*) FROM {table}") == (2,)
    # At least once: the first row may come again.
    seen = events.take_until(lambda event: event.key == {"id": 2}, timeout=90)
    assert {event.key["id"] for event in seen if event.key} <= {1, 2}
    connect_client.wait_for(find_connector(connect_client, CONNECTOR_CLASSES[source.kind]))


def test_transaction_shows_nothing_before_its_commit_nor_after_a_rollback(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, amount DECIMAL(10,2) NOT NULL")
    count = f"SELECT COUNT(*), SUM(amount) FROM {table}"
    with source.connect() as other:
        source.execute("BEGIN")
        source.execute(f"INSERT INTO {table} VALUES (1, 10.10), (2, 20.20)")
        assert answer(other, count) == (0, None)
        source.execute("COMMIT")
        assert answer(other, count) == (2, Decimal("30.30"))

        source.execute("BEGIN")
        source.execute(f"DELETE FROM {table}")
        source.execute("ROLLBACK")
        assert answer(other, count) == (2, Decimal("30.30"))


def test_text_of_any_script_and_emoji_survives_the_round_trip(source: Source) -> None:
    table = source.table("id INT PRIMARY KEY, body VARCHAR(100)")
    texts = ["Ünïcödé", "日本語", "Привет", "مرحبا", "𝄞 🚀 👩‍👩‍👧", "'; DROP TABLE x; --", "back\\slash", ""]
    with source.connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", list(enumerate(texts)))

    found = answers(source.connection, f"SELECT body, CHAR_LENGTH(body) FROM {table} ORDER BY id")

    assert found == [(text, len(text)) for text in texts]
