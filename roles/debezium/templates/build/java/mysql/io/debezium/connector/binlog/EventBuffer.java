package io.debezium.connector.binlog;

import java.lang.reflect.Field;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

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

import io.debezium.connector.mysql.antlr.DdlNormalizer;
import io.debezium.pipeline.source.spi.ChangeEventSource.ChangeEventSourceContext;
import io.debezium.relational.Table;
import io.debezium.relational.TableId;

/**
 * Looks at each event of the binlog before the connector does, in place of the class of that name in Debezium 3.6 (which
 * holds back transactions; MySQL 9 writes no transaction that is rolled back, but for XA). `binlog.buffer.size` above 0
 * puts it to work. It passes events on at once, with the database before the names of tables that are altered or renamed,
 * and replaces two, each by one other, so that positions and counts stay:
 * - rows that do not have as many columns as the connector thinks would end the capture of all tables. Their table is set
 *   aside until its next snapshot;
 * - XA ROLLBACK undoes rows that the connector wrote when the transaction was prepared. The tables are marked as altered,
 *   with a comment that makes the sink request a new snapshot of each.
 */
public class EventBuffer<T extends BinlogStreamingChangeEventSource<P, O>, P extends BinlogPartition, O extends BinlogOffsetContext> {

    /** Comment of a table whose rows were undone; cdc_workstation.sink.source_changes looks for it. */
    public static final String UNDONE = "#undone#";

    private static final Logger LOGGER = LoggerFactory.getLogger(EventBuffer.class);

    private final T source;
    private final ChangeEventSourceContext context;
    private final Map<Long, TableId> tables = new HashMap<>();
    private final Map<String, Set<TableId>> prepared = new HashMap<>();
    private String xid;
    private Set<TableId> written = new HashSet<>();

    public EventBuffer(int capacity, T source, ChangeEventSourceContext context) {
        this.source = source;
        this.context = context;
    }

    public void add(P partition, O offset, Event event) {
        if (event != null) {
            source.handleEvent(partition, offset, context, checked(event));
        }
    }

    private Event checked(Event event) {
        try {
            EventType type = event.getHeader().getEventType();
            if (type == EventType.TABLE_MAP) {
                TableMapEventData data = source.unwrapData(event);
                tables.put(data.getTableId(), new TableId(data.getDatabase(), null, data.getTable()));
            }
            else if (type == EventType.ROTATE) {
                tables.clear();
            }
            else if (EventType.isRowMutation(type)) {
                return rows(event);
            }
            else if (type == EventType.QUERY) {
                return query(event);
            }
            else if (type == EventType.XA_PREPARE && xid != null) {
                prepared.put(xid, written);
                xid = null;
                written = new HashSet<>();
            }
        }
        catch (RuntimeException e) {
            LOGGER.error("An event of the binlog could not be checked and is passed on as it is: {}", event, e);
        }
        return event;
    }

    private Event rows(Event event) {
        EventData data = source.unwrapData(event);
        long number;
        Object[] row = null;
        if (data instanceof WriteRowsEventData) {
            number = ((WriteRowsEventData) data).getTableId();
            List<?> all = ((WriteRowsEventData) data).getRows();
            row = all.isEmpty() ? null : (Object[]) all.get(0);
        }
        else if (data instanceof UpdateRowsEventData) {
            number = ((UpdateRowsEventData) data).getTableId();
            List<Map.Entry<java.io.Serializable[], java.io.Serializable[]>> all = ((UpdateRowsEventData) data).getRows();
            row = all.isEmpty() ? null : all.get(0).getValue();
        }
        else if (data instanceof DeleteRowsEventData) {
            number = ((DeleteRowsEventData) data).getTableId();
            List<?> all = ((DeleteRowsEventData) data).getRows();
            row = all.isEmpty() ? null : (Object[]) all.get(0);
        }
        else {
            return event;
        }
        TableId id = tables.get(number);
        if (id == null) {
            return event;
        }
        if (xid != null) {
            written.add(id);
        }
        Table table = schema().tableFor(id);
        if (table == null && schema().schemaFor(id) != null) {
            // It is set aside; the connector would write its rows as they were defined before.
            return replaced(event, EventType.IGNORABLE, null);
        }
        if (row == null || table == null || table.columns().size() == row.length) {
            return event;
        }
        LOGGER.error("Rows of {} have {} columns in the binlog and {} in the connector's schema; the table is not captured until its next snapshot.",
                id, row.length, table.columns().size());
        return query(event, DdlNormalizer.setAside(id.catalog(), id.table()), id.catalog());
    }

    private Event query(Event event) {
        QueryEventData data = source.unwrapData(event);
        String sql = data.getSql().trim();
        String upper = sql.toUpperCase(Locale.ROOT);
        if (upper.startsWith("RENAME ") || upper.startsWith("ALTER ")) {
            data.setSql(DdlNormalizer.qualified(sql, data.getDatabase()));
        }
        if (!upper.startsWith("XA ")) {
            return event;
        }
        if (upper.startsWith("XA START") || upper.startsWith("XA BEGIN")) {
            xid = sql.substring(8).trim();
            written = new HashSet<>();
        }
        else if (upper.startsWith("XA COMMIT")) {
            prepared.remove(sql.substring(9).trim());
        }
        else if (upper.startsWith("XA ROLLBACK")) {
            Set<TableId> undone = prepared.remove(sql.substring(11).trim());
            if (undone == null) {
                // It was prepared before this task began: any table may be meant.
                undone = schema().tableIds();
            }
            StringBuilder ddl = new StringBuilder();
            for (TableId id : undone) {
                if (schema().tableFor(id) != null) {
                    ddl.append("ALTER TABLE ").append(id.toQuotedString('`')).append(" COMMENT '").append(UNDONE).append("';");
                }
            }
            LOGGER.error("{} undoes changes that were captured already; the sink is told to take new snapshots of {}.", sql, undone);
            return ddl.length() == 0 ? event : query(event, ddl.toString(), data.getDatabase());
        }
        return event;
    }

    private static Event query(Event event, String sql, String database) {
        QueryEventData query = new QueryEventData();
        query.setSql(sql);
        query.setDatabase(database);
        return replaced(event, EventType.QUERY, query);
    }

    private static Event replaced(Event event, EventType type, EventData data) {
        EventHeaderV4 old = (EventHeaderV4) event.getHeader();
        EventHeaderV4 header = new EventHeaderV4();
        header.setTimestamp(old.getTimestamp());
        header.setEventType(type);
        header.setServerId(old.getServerId());
        header.setEventLength(old.getEventLength());
        header.setNextPosition(old.getNextPosition());
        header.setFlags(old.getFlags());
        return new Event(header, data);
    }

    private BinlogDatabaseSchema<?, ?, ?, ?> schema() {
        try {
            Field field = BinlogStreamingChangeEventSource.class.getDeclaredField("schema");
            field.setAccessible(true);
            return (BinlogDatabaseSchema<?, ?, ?, ?>) field.get(source);
        }
        catch (ReflectiveOperationException e) {
            throw new IllegalStateException("This release of Debezium has no such field", e);
        }
    }
}
