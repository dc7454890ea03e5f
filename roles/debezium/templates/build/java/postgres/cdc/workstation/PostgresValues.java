package cdc.workstation;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.ArrayList;
import java.util.GregorianCalendar;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Function;

import org.apache.kafka.connect.data.Decimal;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import io.debezium.data.SpecialValueDecimal;
import io.debezium.spi.converter.CustomConverter;
import io.debezium.spi.converter.RelationalColumn;

/**
 * Values of PostgreSQL that Debezium leaves out, rounds or cannot send: types that it does not know are text as the database
 * writes it, NUMERIC without a precision or with more digits than Delta's DECIMAL is text with all of them (NaN and Infinity,
 * too), a bit string of varying length is text because its length counts, and a NaN in a NUMERIC(p,s) that may
 * not be NULL is NULL and not the end of all capture. Needs `include.unknown.datatypes: true`.
 */
public class PostgresValues implements CustomConverter<SchemaBuilder, RelationalColumn> {

    private static final Logger LOGGER = LoggerFactory.getLogger(PostgresValues.class);

    /** Debezium's placeholder of a large value that did not change; the sink keeps what it has. */
    private static final String UNAVAILABLE = "__debezium_unavailable_value";
    /** Says that the column may not be NULL in the database: a NULL is then a value that could not be sent. */
    private static final String REQUIRED = "cdc.required";

    /** Delta's DECIMAL has so many digits. Numbers with more are text there, so that NaN can be text, too. */
    private static final int LARGEST_DECIMAL = 38;
    // Object identifiers of types; a domain has that of the type that it is based on.
    private static final int NAME = 19;
    private static final int DATE = 1082;
    private static final int NUMERIC = 1700;
    /** Types that Debezium sends as they are, of those that JDBC has no name for. Others are text. */
    private static final Set<String> KNOWN = Set.of(
            "interval", "uuid", "inet", "cidr", "macaddr", "macaddr8", "json", "jsonb", "tsvector", "int4range", "int8range",
            "numrange", "tsrange", "tstzrange", "daterange", "point", "citext", "hstore", "ltree", "isbn", "geometry", "geography",
            "vector", "halfvec", "sparsevec");
    /** interval, point, json and jsonb, also where a domain is based on them. */
    private static final Set<Integer> KNOWN_BASES = Set.of(1186, 600, 114, 3802);
    /** Arrays that Debezium sends as they are, if they have one dimension. */
    private static final Set<String> KNOWN_ARRAYS = Set.of("_bytea", "_date", "_json", "_jsonb");
    private static final Map<Double, String> SPECIAL = Map.of(
            Double.NaN, "NaN", Double.POSITIVE_INFINITY, "Infinity", Double.NEGATIVE_INFINITY, "-Infinity");
    /** Items of arrays that are no text. */
    private record Item(Schema schema, Function<String, Object> convert) {
    }

    private static final Map<String, Item> ITEMS = Map.of(
            "_bool", new Item(Schema.OPTIONAL_BOOLEAN_SCHEMA, text -> text.startsWith("t")),
            "_int2", new Item(Schema.OPTIONAL_INT16_SCHEMA, Short::valueOf),
            "_int4", new Item(Schema.OPTIONAL_INT32_SCHEMA, Integer::valueOf),
            "_int8", new Item(Schema.OPTIONAL_INT64_SCHEMA, Long::valueOf),
            "_oid", new Item(Schema.OPTIONAL_INT64_SCHEMA, Long::valueOf),
            "_float4", new Item(Schema.OPTIONAL_FLOAT32_SCHEMA, Float::valueOf),
            "_float8", new Item(Schema.OPTIONAL_FLOAT64_SCHEMA, Double::valueOf),
            "_time", new Item(named(SchemaBuilder.int64(), "MicroTime"), PostgresValues::micros),
            "_timestamp", new Item(named(SchemaBuilder.int64(), "MicroTimestamp"), PostgresValues::moment));
    private static final Map<String, Item> TEXT_ITEMS = Map.of(
            "_timestamptz", new Item(named(SchemaBuilder.string(), "ZonedTimestamp"), PostgresValues::instant),
            "_timetz", new Item(named(SchemaBuilder.string(), "ZonedTime"), PostgresValues::zonedTime));
    private static final DateTimeFormatter OFFSET = new DateTimeFormatterBuilder().append(DateTimeFormatter.ISO_LOCAL_TIME)
            .appendOffset("+HH:mm:ss", "+00").toFormatter(Locale.ROOT);

    private static Schema named(SchemaBuilder schema, String name) {
        return schema.name("io.debezium.time." + name).version(1).optional().build();
    }

    @Override
    public void configure(Properties properties) {
        // Nothing can be configured.
    }

    @Override
    public void converterFor(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        String type = base(column.typeName());
        if (column.jdbcType() == Types.ARRAY) {
            array(column, type, registration);
        }
        else if (column.nativeType() == NUMERIC) {
            numeric(column, registration);
        }
        else if (column.nativeType() == DATE) {
            registration.register(required(SchemaBuilder.int32().name("io.debezium.time.Date").version(1), column), PostgresValues::days);
        }
        else if (isUnknown(column, type)) {
            registration.register(SchemaBuilder.string(), PostgresValues::text);
        }
    }

    private static String base(String type) {
        String name = type.toLowerCase(Locale.ROOT);
        int dot = name.lastIndexOf('.');
        return name.substring(dot + 1).replace("\"", "");
    }

    private static boolean isUnknown(RelationalColumn column, String type) {
        return switch (column.jdbcType()) {
            case Types.STRUCT -> true;
            case Types.OTHER -> !KNOWN.contains(type) && !KNOWN_BASES.contains(column.nativeType());
            default -> column.nativeType() == NAME;
        };
    }

    /** A column of which a value may be NULL here that is none in the database. */
    private static SchemaBuilder required(SchemaBuilder schema, RelationalColumn column) {
        return column.isOptional() ? schema : schema.optional().parameter(REQUIRED, "true");
    }

    private static void numeric(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        int precision = column.length().orElse(0);
        if (precision < 1 || precision > LARGEST_DECIMAL) {
            registration.register(SchemaBuilder.string(), PostgresValues::text);
            return;
        }
        int scale = scale(column);
        SchemaBuilder schema = Decimal.builder(scale).parameter("connect.decimal.precision", Integer.toString(precision));
        registration.register(required(schema, column), value -> {
            BigDecimal number = number(value);
            return number == null ? null : number.setScale(scale, RoundingMode.UNNECESSARY);
        });
    }

    /** A scale may be negative; the catalog has it in 11 bits. */
    private static int scale(RelationalColumn column) {
        return column.scale().orElse(0) << 21 >> 21;
    }

    private static BigDecimal number(Object value) {
        if (value instanceof BigDecimal number) {
            return number;
        }
        String text = text(value);
        if (text == null || text.equals(UNAVAILABLE)) {
            return null;
        }
        try {
            return new BigDecimal(text);
        }
        catch (NumberFormatException e) {
            LOGGER.warn("{} has no place in a DECIMAL: it is sent as NULL", text);
            return null;
        }
    }

    /** Days since the epoch; a date before Christ keeps its era, which java.sql.Date leaves out when asked for the year. */
    private static Object days(Object value) {
        if (value == null || value.getClass() == Object.class) {
            return null;
        }
        if (value instanceof Integer) {
            return value;
        }
        LocalDate date;
        if (value instanceof java.sql.Date read) {
            GregorianCalendar calendar = new GregorianCalendar();
            calendar.setTime(read);
            date = calendar.get(GregorianCalendar.ERA) == GregorianCalendar.BC
                    ? LocalDate.of(1 - calendar.get(GregorianCalendar.YEAR), 1, 1)
                    : read.toLocalDate();
        }
        else if (value instanceof LocalDate read) {
            date = read;
        }
        else {
            date = LocalDate.parse(value.toString());
        }
        return (int) Math.max(Integer.MIN_VALUE, Math.min(Integer.MAX_VALUE, date.toEpochDay()));
    }

    private static String text(Object value) {
        if (value == null) {
            return null;
        }
        if (value.getClass() == Object.class) {
            return UNAVAILABLE;
        }
        if (value instanceof byte[] bytes) {
            return new String(bytes, java.nio.charset.StandardCharsets.UTF_8);
        }
        if (value instanceof BigDecimal number) {
            return number.toPlainString();
        }
        if (value instanceof SpecialValueDecimal number) {
            return number.getDecimalValue().map(BigDecimal::toPlainString).orElseGet(() -> SPECIAL.get(number.toDouble()));
        }
        String text = value.toString();
        // The driver writes geometric types with floating-point numbers.
        return value.getClass().getName().startsWith("org.postgresql.geometric") ? text.replaceAll("\\.0(?![0-9])", "") : text;
    }

    private static void array(RelationalColumn column, String type, ConverterRegistration<SchemaBuilder> registration) {
        if (KNOWN_ARRAYS.contains(type)) {
            return;
        }
        int precision = column.length().orElse(0);
        Item item = ITEMS.get(type);
        if (type.equals("_numeric") && precision > 0 && precision <= LARGEST_DECIMAL) {
            int scale = scale(column);
            Schema number = Decimal.builder(scale).parameter("connect.decimal.precision", Integer.toString(precision)).optional().build();
            item = new Item(number, text -> {
                BigDecimal read = number(text);
                return read == null ? null : read.setScale(scale, RoundingMode.UNNECESSARY);
            });
        }
        List<Object> unavailable = item == null ? List.of(UNAVAILABLE) : unavailable(type, item);
        Item text = TEXT_ITEMS.getOrDefault(type, new Item(Schema.OPTIONAL_STRING_SCHEMA, read -> read));
        Schema schema = item == null ? text.schema() : item.schema();
        Function<String, Object> convert = item == null ? text.convert() : item.convert();
        registration.register(required(SchemaBuilder.array(schema), column),
                value -> value != null && value.getClass() == Object.class ? unavailable : items(value, convert, column));
    }

    /** The placeholder's characters as numbers, as Debezium writes it in an array of integers, or their bits. */
    private static List<Object> unavailable(String type, Item item) {
        List<Object> codes = new ArrayList<>();
        for (int code : UNAVAILABLE.chars().toArray()) {
            switch (type) {
                case "_time", "_timestamp" -> codes.add((long) code);
                case "_bool" -> Integer.toBinaryString(256 + code).substring(1).chars().forEach(bit -> codes.add(bit == '1'));
                default -> codes.add(item.convert().apply(Integer.toString(code)));
            }
        }
        return codes;
    }

    private static Object micros(String text) {
        return text.startsWith("24:") ? 86_400_000_000L : java.time.LocalTime.parse(text).toNanoOfDay() / 1000;
    }

    /** Microseconds since the epoch; a moment that no year from 1 to 9999 has lies far outside of them. */
    private static Object moment(String text) {
        if (text.length() < 19 || text.charAt(4) != '-' || text.endsWith("BC")) {
            return text.startsWith("infinity") ? Long.MAX_VALUE : Long.MIN_VALUE;
        }
        LocalDateTime moment = LocalDateTime.parse(text.replace(' ', 'T'));
        return moment.toEpochSecond(ZoneOffset.UTC) * 1_000_000 + moment.getNano() / 1_000;
    }

    private static Object instant(String text) {
        if (text.length() < 19 || text.charAt(4) != '-' || text.endsWith("BC")) {
            // The sink says that it has no place for this.
            return text;
        }
        LocalDate day = LocalDate.parse(text.substring(0, 10));
        return OffsetTime.parse(text.substring(11), OFFSET).atDate(day).withOffsetSameInstant(ZoneOffset.UTC)
                .format(DateTimeFormatter.ISO_OFFSET_DATE_TIME);
    }

    private static Object zonedTime(String text) {
        // The end of a day is the beginning of the next one, as Debezium has it outside of arrays.
        String time = text.startsWith("24:") ? "00:" + text.substring(3) : text;
        return OffsetTime.parse(time, OFFSET).withOffsetSameInstant(ZoneOffset.UTC).format(DateTimeFormatter.ISO_OFFSET_TIME);
    }

    private static List<Object> items(Object value, Function<String, Object> convert, RelationalColumn column) {
        if (value == null || value.getClass() == Object.class) {
            return null;
        }
        List<Object> items = new ArrayList<>();
        if (value instanceof List<?> list) {
            // A default.
            list.forEach(item -> items.add(item == null ? null : convert.apply(item.toString())));
            return items;
        }
        String text = value.toString();
        if (text.startsWith("[")) {
            text = text.substring(text.indexOf('=') + 1);
        }
        int at = 1;
        while (at < text.length() - 1) {
            char first = text.charAt(at);
            if (first == '{') {
                LOGGER.warn("{}.{}: an array of several dimensions is sent as NULL", column.dataCollection(), column.name());
                return null;
            }
            StringBuilder item = new StringBuilder();
            if (first == '"') {
                for (at++; text.charAt(at) != '"'; at++) {
                    if (text.charAt(at) == '\\') {
                        at++;
                    }
                    item.append(text.charAt(at));
                }
                at++;
                items.add(convert.apply(item.toString()));
            }
            else {
                while (at < text.length() - 1 && text.charAt(at) != ',' ) {
                    if (text.charAt(at) == '\\') {
                        at++;
                    }
                    item.append(text.charAt(at++));
                }
                items.add(item.toString().equals("NULL") ? null : convert.apply(item.toString()));
            }
            at++;
        }
        return items;
    }
}
