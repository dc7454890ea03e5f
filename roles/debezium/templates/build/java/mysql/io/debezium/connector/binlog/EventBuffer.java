package io.debezium.connector.binlog;

import java.lang.reflect.Field;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import com.github.shyiko.mysql.binlog.event.DeleteRowsEventData;
import com.github.shyiko.mysql.binlog.event.Event;
import com.github.shyiko.mysql.binlog.event.EventData;
import com.github.shyiko.mysql.binlog.event.EventHeaderV4;
import com.github.shyiko.mysql.binlog.event.EventType;
import com.github.shyiko.mysql.binlog.event.QueryEventData;
import com.github.shyiko.mysql.binlog.event.TableMapEventData;
import com.github.shyiko.mysql.binlog.event.UpdateRowsEventData;
import com.github.shyiko.mysql.binlog.event.WriteRowsEventData;
import com.github.shyiko.mysql.binlog.event.XAPrepareEventData;

import io.debezium.connector.binlog.PreparedTransactions.Change;
import io.debezium.connector.binlog.PreparedTransactions.Held;
import io.debezium.connector.mysql.antlr.DdlNormalizer;
import io.debezium.pipeline.source.spi.ChangeEventSource.ChangeEventSourceContext;
import io.debezium.relational.Table;
import io.debezium.relational.TableId;

/**
 * Looks at each event of the binlog before the connector does, in place of the class of that name in Debezium 3.6 (which
 * holds back transactions; MySQL 9 writes no transaction that is rolled back, but for XA). `binlog.buffer.size` above 0
 * puts it to work. It passes events on at once, with the database before the names of tables that are altered or renamed,
 * but for two kinds:
 * - rows that do not have as many columns as the connector thinks would end the capture of all tables. Their table is set
 *   aside until its next snapshot;
 * - rows of an XA transaction are held back until it is committed, and dropped if it is rolled back. If they are no longer
 *   there (Kafka Connect was started anew in between, the snapshot came later than the PREPARE, or they were too many), the
 *   tables are marked as altered, with a comment that makes the sink request a new snapshot of each.
 *
 * The connector counts events to know where to go on after a restart. So what is held back, or replaced, leaves an event in
 * its place, and an XA transaction's parts look like transactions: it reads each again as a whole, or skips what it sent.
 */
public class EventBuffer<T extends BinlogStreamingChangeEventSource<P, O>, P extends BinlogPartition, O extends BinlogOffsetContext> {

    /** Comment of a table whose rows are not those of its events; cdc_workstation.sink.mysql_ddl looks for it. */
    public static final String UNDONE = "#undone#";

    private static final Logger LOGGER = LoggerFactory.getLogger(EventBuffer.class);
    private static final Map<String, PreparedTransactions> PREPARED = new ConcurrentHashMap<>();

    private final T source;
    private final ChangeEventSourceContext context;
    private final Map<Long, Event> maps = new HashMap<>();
    private PreparedTransactions prepared;
    private String xid;
    private Held held;

    public EventBuffer(int capacity, T source, ChangeEventSourceContext context) {
        this.source = source;
        this.context = context;
    }

    public void add(P partition, O offset, Event event) {
        if (event == null) {
            return;
        }
        Event checked = event;
        try {
            EventType type = event.getHeader().getEventType();
            if (type == EventType.TABLE_MAP) {
                TableMapEventData data = source.unwrapData(event);
                maps.put(data.getTableId(), event);
            }
            else if (type == EventType.ROTATE) {
                maps.clear();
            }
            else if (EventType.isRowMutation(type)) {
                checked = held == null ? rows(event) : hold(event);
            }
            else if (type == EventType.XA_PREPARE && held != null) {
                checked = prepare(partition, offset, event);
            }
            else if (type == EventType.QUERY) {
                checked = query(partition, offset, event);
            }
        }
        catch (RuntimeException e) {
            LOGGER.error("An event of the binlog could not be checked: {}", event, e);
            if (held != null) {
                // Passed on it would show what was not committed.
                held.drop();
                checked = replaced(event, EventType.IGNORABLE, null);
            }
        }
        pass(partition, offset, checked);
    }

    private void pass(P partition, O offset, Event event) {
        source.handleEvent(partition, offset, context, event);
    }

    // Rows

    private Event rows(Event event) {
        EventData data = source.unwrapData(event);
        TableId id = table(data);
        if (id == null) {
            return event;
        }
        Table table = schema().tableFor(id);
        if (table == null && schema().schemaFor(id) != null) {
            // It is set aside; the connector would write its rows as they were defined before.
            return replaced(event, EventType.IGNORABLE, null);
        }
        Object[] row = first(data);
        if (row == null || table == null || table.columns().size() == row.length) {
            return event;
        }
        LOGGER.error("Rows of {} have {} columns in the binlog and {} in the connector's schema; the table is not captured until its next snapshot.",
                id, row.length, table.columns().size());
        return query(event, DdlNormalizer.setAside(id.catalog(), id.table()), id.catalog());
    }

    private TableId table(EventData data) {
        long number;
        if (data instanceof WriteRowsEventData rows) {
            number = rows.getTableId();
        }
        else if (data instanceof UpdateRowsEventData rows) {
            number = rows.getTableId();
        }
        else if (data instanceof DeleteRowsEventData rows) {
            number = rows.getTableId();
        }
        else {
            return null;
        }
        Event map = maps.get(number);
        if (map == null) {
            return null;
        }
        TableMapEventData found = source.unwrapData(map);
        return new TableId(found.getDatabase(), null, found.getTable());
    }

    private static Object[] first(EventData data) {
        if (data instanceof WriteRowsEventData rows) {
            return rows.getRows().isEmpty() ? null : rows.getRows().get(0);
        }
        if (data instanceof UpdateRowsEventData rows) {
            return rows.getRows().isEmpty() ? null : rows.getRows().get(0).getValue();
        }
        DeleteRowsEventData rows = (DeleteRowsEventData) data;
        return rows.getRows().isEmpty() ? null : rows.getRows().get(0);
    }

    // XA transactions

    private Event hold(Event event) {
        EventData data = source.unwrapData(event);
        TableId id = table(data);
        if (id != null) {
            Event map = maps.get(number(data));
            prepared().hold(held, id, map, event.getHeader(), data);
        }
        return replaced(event, EventType.IGNORABLE, null);
    }

    private static long number(EventData data) {
        return data instanceof WriteRowsEventData rows ? rows.getTableId()
                : data instanceof UpdateRowsEventData rows ? rows.getTableId()
                : ((DeleteRowsEventData) data).getTableId();
    }

    private Event prepare(P partition, O offset, Event event) {
        Held ended = held;
        held = null;
        XAPrepareEventData data = source.unwrapData(event);
        if (!data.isOnePhase()) {
            prepared().prepare(xid, ended);
            return query(event, "COMMIT", "");
        }
        if (ended.changes() == null) {
            pass(partition, offset, query(event, "COMMIT", ""));
            return snapshots(event, "XA COMMIT " + xid + " ONE PHASE", ended.tables);
        }
        // Nothing came in between, so they have the positions that they had.
        for (Change change : ended.changes()) {
            pass(partition, offset, replaced(event, EventType.TABLE_MAP, source.unwrapData(change.map)));
            pass(partition, offset, rows(new Event(change.header, change.data)));
        }
        return query(event, "COMMIT", "");
    }

    /** Pass a transaction on as if its changes were made by its XA COMMIT, or ask for snapshots instead. */
    private Event commit(P partition, O offset, Event event, String sql) {
        Held committed = prepared().remove(sql.substring(9).trim());
        if (committed == null) {
            // What it would have skipped of this transaction, it must not skip of the next.
            set("initialEventsToSkip", 0L);
            set("startingRowNumber", 0);
            return snapshots(event, sql, schema().tableIds());
        }
        EventHeaderV4 header = event.getHeader();
        // Each event of a table has a position of its own, before the next transaction's.
        if (committed.changes() == null || committed.longest() > header.getEventLength()) {
            return snapshots(event, sql, committed.tables);
        }
        pass(partition, offset, query(event, "BEGIN", ""));
        Map<TableId, Integer> places = new HashMap<>();
        for (Change change : committed.changes()) {
            int place = places.merge(change.table, 1, Integer::sum) - 1;
            Event map = replaced(event, EventType.TABLE_MAP, source.unwrapData(change.map));
            maps.put(((TableMapEventData) map.getData()).getTableId(), map);
            pass(partition, offset, map);
            pass(partition, offset, rows(moved(event, place, change)));
        }
        return query(event, "COMMIT", "");
    }

    private Event snapshots(Event event, String sql, Collection<TableId> tables) {
        StringBuilder ddl = new StringBuilder();
        for (TableId id : tables) {
            if (schema().tableFor(id) != null) {
                ddl.append("ALTER TABLE ").append(id.toQuotedString('`')).append(" COMMENT '").append(UNDONE).append("';");
            }
        }
        LOGGER.error("The changes of {} are not known any more; the sink is told to take new snapshots of {}.", sql, tables);
        return ddl.length() == 0 ? event : query(event, ddl.toString(), "");
    }

    private Event query(P partition, O offset, Event event) {
        QueryEventData data = source.unwrapData(event);
        String sql = data.getSql().trim();
        String upper = sql.toUpperCase(Locale.ROOT);
        if (upper.startsWith("RENAME ") || upper.startsWith("ALTER ")) {
            data.setSql(DdlNormalizer.qualified(sql, data.getDatabase()));
        }
        else if (upper.startsWith("XA START") || upper.startsWith("XA BEGIN")) {
            xid = sql.substring(8).trim();
            held = new Held();
            return query(event, "BEGIN", "");
        }
        else if (upper.startsWith("XA COMMIT")) {
            return commit(partition, offset, event, sql);
        }
        else if (upper.startsWith("XA ROLLBACK")) {
            prepared().remove(sql.substring(11).trim());
        }
        return event;
    }

    private PreparedTransactions prepared() {
        if (prepared == null) {
            BinlogConnectorConfig config = (BinlogConnectorConfig) get("connectorConfig");
            prepared = PREPARED.computeIfAbsent(config.getLogicalName(), any -> new PreparedTransactions());
        }
        return prepared;
    }

    // Events in place of others

    private static Event query(Event event, String sql, String database) {
        QueryEventData query = new QueryEventData();
        query.setSql(sql);
        query.setDatabase(database);
        return replaced(event, EventType.QUERY, query);
    }

    private static Event replaced(Event event, EventType type, EventData data) {
        EventHeaderV4 old = event.getHeader();
        return new Event(header(old, type, old.getPosition(), old.getEventLength()), data);
    }

    /** Return a change at a place within another event. */
    private static Event moved(Event event, int place, Change change) {
        EventHeaderV4 old = event.getHeader();
        long position = old.getPosition() + place;
        return new Event(header(old, change.header.getEventType(), position, old.getNextPosition() - position), change.data);
    }

    private static EventHeaderV4 header(EventHeaderV4 old, EventType type, long position, long length) {
        EventHeaderV4 header = new EventHeaderV4();
        header.setTimestamp(old.getTimestamp());
        header.setEventType(type);
        header.setServerId(old.getServerId());
        header.setEventLength(length);
        header.setNextPosition(position + length);
        header.setFlags(old.getFlags());
        return header;
    }

    // What the connector knows

    private BinlogDatabaseSchema<?, ?, ?, ?> schema() {
        return (BinlogDatabaseSchema<?, ?, ?, ?>) get("schema");
    }

    private Object get(String name) {
        try {
            return field(name).get(source);
        }
        catch (ReflectiveOperationException e) {
            throw new IllegalStateException("This release of Debezium has no such field", e);
        }
    }

    private void set(String name, Object value) {
        try {
            field(name).set(source, value);
        }
        catch (ReflectiveOperationException e) {
            throw new IllegalStateException("This release of Debezium has no such field", e);
        }
    }

    private static Field field(String name) throws NoSuchFieldException {
        Field field = BinlogStreamingChangeEventSource.class.getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }
}
