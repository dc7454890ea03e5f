package io.debezium.connector.binlog;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

import com.github.shyiko.mysql.binlog.event.DeleteRowsEventData;
import com.github.shyiko.mysql.binlog.event.Event;
import com.github.shyiko.mysql.binlog.event.EventData;
import com.github.shyiko.mysql.binlog.event.EventHeader;
import com.github.shyiko.mysql.binlog.event.UpdateRowsEventData;
import com.github.shyiko.mysql.binlog.event.WriteRowsEventData;

import io.debezium.relational.TableId;

/**
 * The changes of XA transactions that were prepared and are neither committed nor rolled back. They outlive a blocking
 * snapshot and a restart of the task, though not one of Kafka Connect.
 */
final class PreparedTransactions {

    /** Size in the binlog of what is held back; of larger transactions only the tables are known. */
    private static final long LARGEST = 16L * 1024 * 1024;

    private final Map<String, Held> prepared = new HashMap<>();
    private long bytes;

    /** The changes of one transaction. */
    static final class Held {

        final Set<TableId> tables = new HashSet<>();
        private final List<Change> changes = new ArrayList<>();
        private final Map<TableId, Change> latest = new HashMap<>();
        private long bytes;
        private boolean complete = true;

        /** All changes, those of each table in their order; `null` if there were too many to be kept. */
        List<Change> changes() {
            return complete ? changes : null;
        }

        /** How many events the table with the most has. */
        int longest() {
            Map<TableId, Integer> counts = new HashMap<>();
            changes.forEach(change -> counts.merge(change.table, 1, Integer::sum));
            return counts.values().stream().mapToInt(Integer::intValue).max().orElse(0);
        }

        /** Keep the tables alone. */
        void drop() {
            complete = false;
            changes.clear();
            latest.clear();
            bytes = 0;
        }
    }

    /** Rows of one table that were changed in one way, by one event of the binlog or more. */
    static final class Change {

        final TableId table;
        /** Says which table the number in the event means. */
        final Event map;
        final EventHeader header;
        final EventData data;

        Change(TableId table, Event map, EventHeader header, EventData data) {
            this.table = table;
            this.map = map;
            this.header = header;
            this.data = data;
        }

        /** Take the rows of another event, if it is of the same kind. */
        private boolean takes(EventData other) {
            if (data instanceof WriteRowsEventData mine && other instanceof WriteRowsEventData more) {
                return same(mine.getTableId(), more.getTableId(), mine.getIncludedColumns(), more.getIncludedColumns())
                        && mine.getRows().addAll(more.getRows());
            }
            if (data instanceof DeleteRowsEventData mine && other instanceof DeleteRowsEventData more) {
                return same(mine.getTableId(), more.getTableId(), mine.getIncludedColumns(), more.getIncludedColumns())
                        && mine.getRows().addAll(more.getRows());
            }
            return data instanceof UpdateRowsEventData mine && other instanceof UpdateRowsEventData more
                    && same(mine.getTableId(), more.getTableId(), mine.getIncludedColumns(), more.getIncludedColumns())
                    && mine.getIncludedColumnsBeforeUpdate().equals(more.getIncludedColumnsBeforeUpdate())
                    && mine.getRows().addAll(more.getRows());
        }

        private static boolean same(long table, long other, BitSet columns, BitSet others) {
            return table == other && columns.equals(others);
        }
    }

    /** Keep an event of rows for a transaction. */
    void hold(Held held, TableId table, Event map, EventHeader header, EventData data) {
        held.tables.add(table);
        if (!held.complete) {
            return;
        }
        long size = header.getDataLength();
        if (bytes + held.bytes + size > LARGEST) {
            held.drop();
            return;
        }
        held.bytes += size;
        Change last = held.latest.get(table);
        if (last == null || !last.takes(data)) {
            Change change = new Change(table, map, header, growing(data));
            held.changes.add(change);
            held.latest.put(table, change);
        }
    }

    /** Keep a transaction that was prepared. */
    void prepare(String xid, Held held) {
        remove(xid);
        prepared.put(xid, held);
        bytes += held.bytes;
    }

    /** Return a transaction, and forget it; `null` if it is not known. */
    Held remove(String xid) {
        Held held = prepared.remove(xid);
        if (held != null) {
            bytes -= held.bytes;
        }
        return held;
    }

    private static EventData growing(EventData data) {
        if (data instanceof WriteRowsEventData rows) {
            rows.setRows(new ArrayList<>(rows.getRows()));
        }
        else if (data instanceof DeleteRowsEventData rows) {
            rows.setRows(new ArrayList<>(rows.getRows()));
        }
        else if (data instanceof UpdateRowsEventData rows) {
            rows.setRows(new ArrayList<Map.Entry<Serializable[], Serializable[]>>(rows.getRows()));
        }
        return data;
    }
}
