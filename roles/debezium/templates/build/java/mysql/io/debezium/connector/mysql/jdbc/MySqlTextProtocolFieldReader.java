package io.debezium.connector.mysql.jdbc;

import java.nio.charset.StandardCharsets;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.LocalDateTime;

import io.debezium.connector.mysql.MySqlConnectorConfig;
import io.debezium.relational.Column;
import io.debezium.relational.Table;

/**
 * Reads days and times of a snapshot from their text, as a stream has them. In place of the class of that name in Debezium
 * 3.6, which reads DATETIME as java.sql.Timestamp: its calendar knows no 1582-10-05 to 14 and no year 0.
 */
public class MySqlTextProtocolFieldReader extends AbstractFieldReader {

    public MySqlTextProtocolFieldReader(MySqlConnectorConfig config) {
        super(config);
    }

    @Override
    protected Object readTimeField(ResultSet rows, int place, Column column, Table table) throws SQLException {
        String text = text(rows, place);
        return text == null ? null : MySqlValueConverters.stringToDuration(text);
    }

    @Override
    protected Object readDateField(ResultSet rows, int place, Column column, Table table) throws SQLException {
        String text = text(rows, place);
        return text == null ? null : MySqlValueConverters.stringToLocalDate(text, column, table);
    }

    @Override
    protected Object readTimestampField(ResultSet rows, int place, Column column, Table table) throws SQLException {
        String text = text(rows, place);
        // No day, or none that a stream would send: as NULL.
        boolean absent = text == null || text.startsWith("0000-") || MySqlValueConverters.containsZeroValuesInDatePart(text, column, table);
        return absent ? null : LocalDateTime.parse(text.replace(' ', 'T'));
    }

    private static String text(ResultSet rows, int place) throws SQLException {
        byte[] bytes = rows.getBytes(place);
        return bytes == null || bytes.length == 0 ? null : new String(bytes, StandardCharsets.US_ASCII);
    }
}
