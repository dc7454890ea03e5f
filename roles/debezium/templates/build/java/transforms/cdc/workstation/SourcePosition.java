package cdc.workstation;

import java.util.Map;

import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.components.Versioned;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Adds to DDL events and notifications what Debezium leaves out of them: headers with the position in the source's log and
 * the kind of the snapshot that they belong to. Without, an empty table's snapshot has no position, and the DROP TABLE and
 * CREATE TABLE that a blocking snapshot writes look like a user's.
 */
public class SourcePosition implements Transformation<SourceRecord>, Versioned {

    /** `INITIAL` or `BLOCKING`; absent in the stream. */
    public static final String SNAPSHOT = "cdc.snapshot";
    /** MySQL: `binlog.000002:4711`; PostgreSQL: the LSN as a number. */
    public static final String POSITION = "cdc.position";

    private static final String NOTIFICATION = "io.debezium.connector.common.Notification";

    /** The kind of the snapshot that is under way. */
    private String snapshot;

    @Override
    public SourceRecord apply(SourceRecord record) {
        String schema = record.valueSchema() == null ? null : record.valueSchema().name();
        if (schema == null || !schema.endsWith("SchemaChangeValue") && !schema.equals(NOTIFICATION)) {
            return record;
        }
        Map<String, ?> offset = record.sourceOffset() == null ? Map.of() : record.sourceOffset();
        // Notifications and events of one connector come in the order in which they happened. The offset alone does not
        // tell: a blocking snapshot's DDL has that of the stream.
        String type = schema.equals(NOTIFICATION) ? ((Struct) record.value()).getString("type") : "";
        if (type.equals("STARTED")) {
            snapshot = "BLOCKING";
        }
        if (offset.get("snapshot") != null) {
            snapshot = offset.get("snapshot").toString().toUpperCase();
        }
        if (snapshot != null) {
            record.headers().addString(SNAPSHOT, snapshot);
        }
        if (type.equals("COMPLETED") || type.equals("ABORTED") || type.equals("SKIPPED")) {
            snapshot = null;
        }
        if (offset.get("file") != null) {
            record.headers().addString(POSITION, offset.get("file") + ":" + offset.get("pos"));
        }
        else if (offset.get("lsn") != null) {
            record.headers().addString(POSITION, offset.get("lsn").toString());
        }
        return record;
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public void configure(Map<String, ?> configs) {
    }

    @Override
    public String version() {
        return "1";
    }

    @Override
    public void close() {
    }
}
