"""What each engine of the sink does for a table; every one passes these tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cdc_workstation.sink.events import Position
from cdc_workstation.sink.rows import DELETED, UNAVAILABLE, Rows
from cdc_workstation.sink.schema import METADATA, Change, Fill
from cdc_workstation.sink.state import State, app_id, restore
from cdc_workstation.sink.writer import CommitInfo, TableWriter

PROPERTIES = {"delta.enableChangeDataFeed": "true"}
NOTHING = CommitInfo("{}")
COLUMNS: dict[str, pa.DataType] = {"id": pa.int64(), "note": pa.string(), "n": pa.int32()}
BACKTICK = "back`tick"
NAMES = ["a b", "it's", 'say "x"', "dot.ted", "select", "日本", "semi;colon,{x}(y)=z"]

# Each type with the values at its edges.
VALUES: dict[str, tuple[pa.DataType, Any, Any]] = {
    "int8": (pa.int8(), -(2**7), 2**7 - 1),
    "int16": (pa.int16(), -(2**15), 2**15 - 1),
    "int32": (pa.int32(), -(2**31), 2**31 - 1),
    "int64": (pa.int64(), -(2**63), 2**63 - 1),
    "float32": (pa.float32(), -1.5, float("inf")),
    "float64": (pa.float64(), 5e-324, 1.7976931348623157e308),
    "bool": (pa.bool_(), True, False),
    "string": (pa.string(), "", "日本 \N{PILE OF POO} 'quoted' \"twice\" back\\slash\nline"),
    "binary": (pa.binary(), b"", b"\x00\xff'"),
    "date": (pa.date32(), date(1, 1, 1), date(9999, 12, 31)),
    "datetime": (pa.timestamp("us"), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    "instant": (
        pa.timestamp("us", tz="UTC"),
        datetime(1582, 10, 4, 12, tzinfo=UTC),
        datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC),
    ),
    "decimal": (pa.decimal128(38, 10), Decimal("-" + "9" * 28 + "." + "9" * 10), Decimal("0.0000000001")),
    "unsigned": (pa.decimal128(20, 0), Decimal(0), Decimal(2**64 - 1)),
    "list": (pa.list_(pa.string()), [], ["a", None, "it's"]),
    "lists": (pa.list_(pa.list_(pa.int32())), [[1], []], [[None, 2]]),
    "map": (pa.map_(pa.string(), pa.string()), [], [("k", "v"), ("n", None)]),
    "struct": (pa.struct([("x", pa.float64()), ("srid", pa.int32())]), {"x": 0.5, "srid": None}, {"x": 1.0, "srid": 3}),
}


def rows(
    values: Sequence[Mapping[str, Any]],
    types: Mapping[str, pa.DataType] = COLUMNS,
    *,
    order: int = 1,
    ts_ms: int = 0,
    deleted: Sequence[int] = (),
    unavailable: Mapping[int, Sequence[str]] | None = None,
) -> Rows:
    """Return rows of a commit; `deleted` and the keys of `unavailable` are places among them."""
    count = len(values)
    carried = [name for name in types if any(name in one for one in values)]
    arrays = {name: pa.array([one.get(name) for one in values], types[name]) for name in carried}
    arrays["_cdc_op"] = pa.array(["d" if place in deleted else "u" for place in range(count)])
    arrays["_cdc_ts_ms"] = pa.array([ts_ms] * count, pa.int64())
    arrays["_cdc_position"] = pa.array(["0/1"] * count)
    arrays["_cdc_order"] = pa.array([one.get("order", order) for one in values], pa.int64())
    arrays["_cdc_suborder"] = pa.array([one.get("suborder", 0) for one in values], pa.int64())
    arrays[DELETED] = pa.array([place in deleted for place in range(count)])
    names: set[str] = set()
    if unavailable is not None:
        lists = [list(unavailable.get(place, ())) for place in range(count)]
        arrays[UNAVAILABLE] = pa.array(lists, pa.list_(pa.string()))
        names = {name for one in lists for name in one}
    return Rows(pa.table(arrays), frozenset(names))


def stored(path: str, *columns: str, by: str = "id") -> list[dict[str, Any]]:
    """Return the rows of a table as delta-rs reads them."""
    table = DeltaTable(path).to_pyarrow_table()
    found = sorted(table.to_pylist(), key=lambda one: one[by])
    return [{name: one[name] for name in columns} for one in found]


def create(writer: TableWriter, types: Mapping[str, pa.DataType] = COLUMNS, *, replaces: bool = False) -> None:
    """Create a table of the sink."""
    writer.create(dict(types) | METADATA, PROPERTIES, replaces=replaces)


class WriterContract:
    """Tests of `writer`, a new writer of a table that does not exist at `path`."""

    NAMES = (*NAMES, BACKTICK)
    """Names of columns that the engine takes."""

    @pytest.fixture
    def path(self) -> str:
        """Where the table lies."""
        raise NotImplementedError

    @pytest.fixture
    def writer(self, path: str) -> TableWriter:
        """The writer of the table."""
        raise NotImplementedError

    # What is there

    def test_absent_table_has_no_version_columns_or_history(self, writer: TableWriter) -> None:
        assert writer.refresh() == -1
        assert writer.version() == -1
        assert writer.columns() is None
        assert writer.history(5) == []
        assert writer.transaction_version("somebody") is None
        assert writer.count() == 0
        assert not writer.maintenance_is_due()

    def test_values_of_each_type_stay_what_they_are(self, writer: TableWriter, path: str) -> None:
        types = {"id": pa.int64()} | {name: kind for name, (kind, _, _) in VALUES.items()}
        values = [
            {"id": 1} | {name: least for name, (_, least, _) in VALUES.items()},
            {"id": 2} | {name: greatest for name, (_, _, greatest) in VALUES.items()},
            {"id": 3},
        ]
        create(writer, types)

        writer.append(rows(values, types), NOTHING, with_deleted=False)

        assert writer.columns() == types | METADATA
        assert writer.count() == 3
        assert stored(path, *types) == [dict.fromkeys(types) | one for one in values]

    def test_commit_says_its_state_and_transaction(self, writer: TableWriter) -> None:
        create(writer)
        state = State(topic_id="t", offsets={0: 7}, positions={0: Position(5, 1)}, fields=["id"], keyed=True)
        application = app_id("t", 0)

        writer.append(rows([{"id": 1}]), CommitInfo(state.metadata("topic"), (application, 7)), with_deleted=False)
        version = writer.version()
        writer.upsert(rows([{"id": 1}], order=2), ["id"], NOTHING, insert_only=False)

        assert writer.version() == version + 1
        assert writer.refresh() == version + 1
        assert writer.transaction_version(application) == 7
        assert writer.transaction_version("somebody else") is None
        newest, before = writer.history(2)
        assert newest["userMetadata"] == "{}"
        assert restore([before], {}, "topic", "t", [0]) == state

    def test_other_handle_sees_the_commits(self, writer: TableWriter, path: str) -> None:
        create(writer)
        DeltaTable(path).alter.set_table_description("by somebody")
        assert writer.refresh() == 1

        writer.forget()
        assert writer.refresh() == 1

    # Rows

    def test_latest_change_of_each_key_is_applied(self, writer: TableWriter, path: str) -> None:
        create(writer)
        before = [{"id": key, "note": "old", "n": key} for key in range(1, 8)]
        writer.append(rows(before, order=10), NOTHING, with_deleted=False)

        changes = [
            {"id": 1, "note": "newer", "n": 10, "order": 11},
            {"id": 2, "note": "stale", "n": 20, "order": 9},
            {"id": 3, "note": "same", "n": 30, "order": 10},
            {"id": 4, "note": "later row", "n": 40, "order": 10, "suborder": 1},
            {"id": 5, "order": 11},
            {"id": 6, "order": 9},
            {"id": 7, "note": None, "n": 70, "order": 11},
            {"id": 8, "note": "new", "n": 80, "order": 11},
            {"id": 9, "order": 11},
        ]
        writer.upsert(rows(changes, deleted=[4, 5, 8], unavailable={6: ["note"]}), ["id"], NOTHING, insert_only=False)

        assert stored(path, "id", "note", "n") == [
            {"id": 1, "note": "newer", "n": 10},
            {"id": 2, "note": "old", "n": 2},
            {"id": 3, "note": "old", "n": 3},
            {"id": 4, "note": "later row", "n": 40},
            {"id": 6, "note": "old", "n": 6},
            {"id": 7, "note": "old", "n": 70},
            {"id": 8, "note": "new", "n": 80},
        ]

    def test_rows_of_one_snapshot_are_inserted_once(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1, "note": "first"}]), NOTHING, with_deleted=False)

        again = rows([{"id": 1, "note": "again"}, {"id": 2, "note": "second"}], order=2)
        writer.upsert(again, ["id"], NOTHING, insert_only=True)

        assert stored(path, "id", "note") == [{"id": 1, "note": "first"}, {"id": 2, "note": "second"}]

    def test_appended_changes_may_be_deletes(self, writer: TableWriter, path: str) -> None:
        create(writer)
        changes = rows([{"id": 1, "note": "x"}, {"id": 2}], deleted=[1])

        writer.append(changes, NOTHING, with_deleted=False)
        assert stored(path, "id", "_cdc_op") == [{"id": 1, "_cdc_op": "u"}]

        writer.append(changes, NOTHING, with_deleted=True)
        assert [one["_cdc_op"] for one in stored(path, "id", "_cdc_op")] == ["u", "u", "d"]

    def test_columns_that_changes_do_not_carry_stay(self, writer: TableWriter, path: str) -> None:
        """Dropped in the source, or those of a delete."""
        create(writer)
        writer.append(rows([{"id": 1, "note": "x", "n": 1}]), NOTHING, with_deleted=False)
        without_note = {"id": pa.int64(), "n": pa.int32()}

        changes = rows([{"id": 1, "n": 2}, {"id": 2, "n": 3}], without_note, order=2)
        writer.upsert(changes, ["id"], NOTHING, insert_only=False)

        assert stored(path, "id", "note", "n") == [{"id": 1, "note": "x", "n": 2}, {"id": 2, "note": None, "n": 3}]

    def test_names_may_have_any_character(self, writer: TableWriter, path: str) -> None:
        types = {"key of it's": pa.int64()} | dict.fromkeys(self.NAMES, pa.string())
        create(writer, types)
        before = [{"key of it's": key} | {name: f"{name} {key}" for name in self.NAMES} for key in (1, 2)]
        writer.append(rows(before, types), NOTHING, with_deleted=False)

        after = {"key of it's": 2} | dict.fromkeys(self.NAMES, "new")
        changes = rows(
            [after, {"key of it's": 3} | dict.fromkeys(self.NAMES, "third")],
            types,
            order=2,
            unavailable={0: self.NAMES[:3]},
        )
        writer.upsert(changes, ["key of it's"], NOTHING, insert_only=False)
        writer.evolve(
            Change(
                added={"one more; (it's)": pa.string(), "re named": pa.string()},
                fills=[Fill("one more; (it's)", "it's"), Fill("re named", source=self.NAMES[-1])],
            )
        )

        found = stored(path, *types, "one more; (it's)", "re named", by="key of it's")
        assert found[0] == before[0] | {"one more; (it's)": "it's", "re named": before[0][self.NAMES[-1]]}
        assert found[1] == before[1] | dict.fromkeys(self.NAMES[3:], "new") | {
            "one more; (it's)": "it's",
            "re named": "new",
        }
        assert found[2][self.NAMES[0]] == "third"

    def test_key_may_be_of_several_types(self, writer: TableWriter, path: str) -> None:
        types = {
            "id": pa.decimal128(38, 0),
            "b": pa.binary(),
            "s": pa.string(),
            "d": pa.date32(),
            "i": pa.timestamp("us", tz="UTC"),
            "n": pa.int32(),
        }
        keys = list(types)[:-1]
        rest = {"b": b"\x00'", "s": "it's", "d": date(1500, 1, 1), "i": datetime(2024, 2, 29, tzinfo=UTC)}
        first, second = ({"id": Decimal(10**37 + number)} | rest for number in (1, 2))
        create(writer, types)
        writer.append(rows([first | {"n": 1}, second | {"n": 2}], types), NOTHING, with_deleted=False)

        changes = [first, second | {"n": 5}, second | {"b": b"", "n": 6}]
        writer.upsert(rows(changes, types, order=2, deleted=[0]), keys, NOTHING, insert_only=False)

        assert sorted(one["n"] for one in stored(path, "n")) == [5, 6]

    def test_older_rows_are_deleted(self, writer: TableWriter, path: str) -> None:
        create(writer)
        places = [(1, 9), (2, 2), (2, 3), (2, 4), (3, 0)]
        tables = [
            rows([{"id": number, "order": order, "suborder": suborder}], ts_ms=10 * number).table
            for number, (order, suborder) in enumerate(places, 1)
        ]
        writer.append(Rows(pa.concat_tables(tables)), NOTHING, with_deleted=False)
        steps: list[tuple[Position | None, list[int]]] = [
            (Position(2, 3), [3, 4, 5]),
            (Position(3, 0), [5]),
            (None, []),
        ]

        for number, (position, left) in enumerate(steps):
            writer.delete_older(position, CommitInfo(str(number)))

            assert [one["id"] for one in stored(path, "id")] == left
            assert writer.history(1)[0]["userMetadata"] == str(number)

    def test_changes_without_effect_change_no_row(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1, "note": "x"}], order=5), NOTHING, with_deleted=False)
        version = writer.version()

        writer.upsert(rows([{"id": 1, "note": "stale"}], order=4), ["id"], NOTHING, insert_only=False)
        writer.delete_older(Position(2, 0), NOTHING)

        assert stored(path, "id", "note") == [{"id": 1, "note": "x"}]
        # Spark's MERGE commits what it has looked at, even if no row changed.
        assert writer.version() - version <= 1

    def test_commit_may_have_no_rows(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1}]), NOTHING, with_deleted=False)
        version = writer.version()

        writer.record(CommitInfo("nothing new"))

        assert writer.version() == version + 1
        assert writer.history(1)[0]["userMetadata"] == "nothing new"
        assert [one["id"] for one in stored(path, "id")] == [1]

    @pytest.mark.parametrize(
        ("before", "after"),
        [(None, "interval 3600 seconds"), ("interval 60 seconds", "interval 3600 seconds"), ("interval 2 days", None)],
    )
    def test_retention_of_a_table_that_exists_is_kept(
        self, writer: TableWriter, path: str, before: str | None, after: str | None
    ) -> None:
        names = ["delta.deletedFileRetentionDuration", "delta.logRetentionDuration"]
        configuration = dict.fromkeys(names, before) if before else {}
        DeltaTable.create(path, pa.schema(list((COLUMNS | METADATA).items())), configuration=configuration)
        writer.refresh()

        writer.retain({})
        writer.retain({})

        found = DeltaTable(path)
        assert [found.metadata().configuration.get(name) for name in names] == [after or before] * 2
        assert found.version() == (1 if after else 0)

    def test_change_feed_shows_what_changed(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1}, {"id": 2}]), NOTHING, with_deleted=False)
        writer.upsert(
            rows([{"id": 1, "note": "x"}, {"id": 2}], order=2, deleted=[1]), ["id"], NOTHING, insert_only=False
        )

        feed = pa.table(DeltaTable(path).load_cdf(writer.version(), writer.version())).to_pylist()

        assert sorted((one["id"], one["_change_type"]) for one in feed) == [
            (1, "update_postimage"),
            (1, "update_preimage"),
            (2, "delete"),
        ]

    # Columns

    def test_added_columns_are_filled(self, writer: TableWriter, path: str) -> None:
        create(writer, {"id": pa.int64()})
        writer.append(rows([{"id": 1}]), NOTHING, with_deleted=False)
        types = {name: kind for name, (kind, _, _) in VALUES.items()}
        filled = {name: greatest for name, (_, _, greatest) in VALUES.items()}

        writer.evolve(
            Change(
                added=types | {"empty": pa.string()},
                fills=[Fill(name, filled[name]) for name in types],
            )
        )

        assert writer.columns() == {"id": pa.int64()} | METADATA | types | {"empty": pa.string()}
        assert stored(path, *types, "empty") == [filled | {"empty": None}]
        writer.append(rows([{"id": 2} | filled], {"id": pa.int64()} | types), NOTHING, with_deleted=False)
        assert stored(path, *types)[1] == filled

    def test_renamed_column_keeps_its_values(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1, "note": "x"}]), NOTHING, with_deleted=False)

        writer.evolve(Change(added={"comment": pa.string()}, fills=[Fill("comment", source="note")]))
        writer.evolve(Change(fills=[Fill("note")]))

        assert stored(path, "note", "comment") == [{"note": None, "comment": "x"}]

    def test_columns_are_widened(self, writer: TableWriter, path: str) -> None:
        types = {
            "id": pa.int32(),
            "f": pa.float32(),
            "d": pa.decimal128(5, 2),
            "day": pa.date32(),
            "same": pa.string(),
            "i": pa.int16(),
            "list": pa.list_(pa.string()),
        }
        create(writer, types)
        value = {"f": 0.5, "d": Decimal("1.25"), "day": date(1500, 2, 28), "same": "x", "i": 3, "list": ["a"]}
        writer.append(rows([{"id": 1} | value, {"id": 2}], types), NOTHING, with_deleted=False)

        wider = {
            "id": pa.int64(),
            "f": pa.float64(),
            "d": pa.decimal128(20, 4),
            "day": pa.timestamp("us"),
            "i": pa.decimal128(10, 2),
        }
        added = {"new": pa.int32(), "empty": pa.string()}
        writer.evolve(Change(added=added, retyped=wider, fills=[Fill("new", 7)]))

        assert writer.columns() == types | METADATA | wider | added
        assert stored(path, *types, *added) == [
            {"id": 1} | value | {"day": datetime(1500, 2, 28), "new": 7, "empty": None},
            {"id": 2} | dict.fromkeys(value) | {"new": 7, "empty": None},
        ]
        writer.upsert(rows([{"id": 2**40, "d": Decimal("1.2345")}], types | wider), ["id"], NOTHING, insert_only=False)
        assert writer.count() == 3

    def test_table_is_replaced_with_other_columns(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1, "note": "x"}]), NOTHING, with_deleted=False)
        other = {"id": pa.string(), "note": pa.int32()}

        create(writer, other, replaces=True)
        assert writer.count() == 0
        writer.append(rows([{"id": "a", "note": 1}], other), NOTHING, with_deleted=False)

        assert writer.columns() == other | METADATA
        assert stored(path, "id", "note") == [{"id": "a", "note": 1}]

    # Others

    def test_commits_of_others_do_not_hinder_the_sinks(self, writer: TableWriter, path: str) -> None:
        create(writer)
        writer.append(rows([{"id": 1}, {"id": 2}, {"id": 3}]), NOTHING, with_deleted=False)
        user = DeltaTable(path)
        user.delete("id = 2")
        user.optimize.compact()
        user.alter.set_table_properties({"delta.appendOnly": "false"})

        changes = rows([{"id": 1, "note": "new"}, {"id": 2, "note": "again"}], order=2)
        _insist(writer, lambda: writer.upsert(changes, ["id"], NOTHING, insert_only=False))

        assert stored(path, "id", "note") == [
            {"id": 1, "note": "new"},
            {"id": 2, "note": "again"},
            {"id": 3, "note": None},
        ]


def _insist(writer: TableWriter, commit: Any) -> None:
    """Do as the service does: what failed is tried once more, with what others did."""
    try:
        commit()
    except Exception:
        writer.forget()
        writer.refresh()
        commit()
