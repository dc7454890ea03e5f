"""The topic of a table, by the table's name alone."""

from __future__ import annotations

import pytest

from cdc_workstation.clients.kafka import topic_of_table

MADE = {"debezium.public.t_1"}


@pytest.mark.parametrize("prefix", ["debezium", "own_connector"])
def test_table_that_a_fixture_made_is_found_before_its_topic_exists(prefix: str) -> None:
    # No broker is asked: there is none.
    assert topic_of_table("127.0.0.1:1", "t_1", prefix, ("cdcdb", "public"), MADE) == f"{prefix}.public.t_1"
