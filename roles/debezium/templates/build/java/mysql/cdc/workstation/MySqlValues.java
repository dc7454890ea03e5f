package cdc.workstation;

import java.sql.Timestamp;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.Year;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Properties;

import org.apache.kafka.connect.data.SchemaBuilder;

import io.debezium.spi.converter.CustomConverter;
import io.debezium.spi.converter.RelationalColumn;

/**
 * Values of MySQL that Debezium changes: BOOLEAN is TINYINT(1), which holds -128 to 127; REAL is DOUBLE and FLOAT4 is FLOAT,
 * in DDL as in a snapshot; the year 0 of a YEAR is neither 1900 nor 2000 (needs `driver.yearIsDateType: false`); and a zero
 * date in a column that may not be NULL is NULL, and no day in 1970.
 */
public class MySqlValues implements CustomConverter<SchemaBuilder, RelationalColumn> {

    private static final int MICROS = 4;

    @Override
    public void configure(Properties properties) {
        // Nothing can be configured.
    }

    @Override
    public void converterFor(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        switch (column.typeName().toUpperCase(Locale.ROOT)) {
            case "BOOLEAN", "BOOL" -> registration.register(SchemaBuilder.int16(), MySqlValues::small);
            case "REAL" -> registration.register(SchemaBuilder.float64(), value -> value == null ? null : ((Number) number(value)).doubleValue());
            case "FLOAT4" -> registration.register(SchemaBuilder.float32(), value -> value == null ? null : ((Number) number(value)).floatValue());
            case "YEAR" -> registration.register(SchemaBuilder.int32().name("io.debezium.time.Year").version(1), MySqlValues::year);
            default -> {
                if (!column.isOptional()) {
                    required(column, registration);
                }
            }
        }
    }

    private static void required(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        switch (column.typeName().toUpperCase(Locale.ROOT)) {
            case "DATE" -> registration.register(nullable(SchemaBuilder.int32().name("io.debezium.time.Date")), MySqlValues::days);
            case "DATETIME" -> {
                boolean micros = column.length().orElse(0) >= MICROS;
                String name = micros ? "io.debezium.time.MicroTimestamp" : "io.debezium.time.Timestamp";
                registration.register(nullable(SchemaBuilder.int64().name(name)), value -> moment(value, micros));
            }
            case "TIMESTAMP" -> registration.register(nullable(SchemaBuilder.string().name("io.debezium.time.ZonedTimestamp")), MySqlValues::instant);
            default -> {
                // Debezium's own conversion is exact.
            }
        }
    }

    /** A column of which a value may be NULL here that is none in the database. */
    private static SchemaBuilder nullable(SchemaBuilder schema) {
        return schema.version(1).optional().parameter("cdc.required", "true");
    }

    private static Object number(Object value) {
        return value instanceof Number ? value : Double.valueOf(value.toString());
    }

    private static Object small(Object value) {
        if (value == null) {
            return null;
        }
        if (value instanceof Boolean flag) {
            return (short) (flag ? 1 : 0);
        }
        if (value instanceof Number number) {
            return number.shortValue();
        }
        String text = value.toString().toLowerCase(Locale.ROOT);
        return text.equals("true") ? (short) 1 : text.equals("false") ? (short) 0 : Short.valueOf(text);
    }

    private static Object year(Object value) {
        if (value == null) {
            return null;
        }
        int year = value instanceof java.sql.Date date ? date.toLocalDate().getYear()
                : value instanceof Year read ? read.getValue()
                : Integer.parseInt(value.toString());
        // MySQL's years are 1901 to 2155, and 0, which the binlog counts from 1900.
        return year == 1900 ? 0 : year;
    }

    private static Object days(Object value) {
        if (value == null || value instanceof Integer) {
            return value;
        }
        LocalDate date = value instanceof LocalDate read ? read
                : value instanceof java.sql.Date read ? read.toLocalDate()
                : LocalDate.parse(value.toString());
        return (int) date.toEpochDay();
    }

    private static Object moment(Object value, boolean micros) {
        if (value == null || value instanceof Long) {
            return value;
        }
        LocalDateTime moment = value instanceof LocalDateTime read ? read
                : value instanceof Timestamp read ? read.toLocalDateTime()
                : LocalDateTime.parse(value.toString().replace(' ', 'T'));
        long seconds = moment.toEpochSecond(ZoneOffset.UTC);
        return micros ? seconds * 1_000_000 + moment.getNano() / 1_000 : seconds * 1_000 + moment.getNano() / 1_000_000;
    }

    private static Object instant(Object value) {
        if (value == null || value instanceof String) {
            return value;
        }
        Instant instant = value instanceof OffsetDateTime read ? read.toInstant()
                : value instanceof ZonedDateTime read ? read.toInstant()
                : value instanceof Timestamp read ? read.toInstant()
                : value instanceof LocalDateTime read ? read.toInstant(ZoneOffset.UTC)
                : Instant.parse(value.toString());
        return instant.atOffset(ZoneOffset.UTC).format(DateTimeFormatter.ISO_OFFSET_DATE_TIME);
    }
}
