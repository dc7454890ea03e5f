package cdc.workstation;

import java.math.BigDecimal;
import java.util.Locale;
import java.util.Properties;

import org.apache.kafka.connect.data.Decimal;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import io.debezium.data.SpecialValueDecimal;
import io.debezium.data.VariableScaleDecimal;
import io.debezium.spi.converter.CustomConverter;
import io.debezium.spi.converter.RelationalColumn;

/**
 * Makes NaN and infinity in NUMERIC NOT NULL columns NULL, as Debezium does in columns that may be NULL: without, such a
 * value ends the capture of all tables. The column's schema is optional and has the parameter `cdc.required`, so that a
 * reader knows a NULL there for a value that cannot be represented.
 */
public class RequiredNumbers implements CustomConverter<SchemaBuilder, RelationalColumn> {

    private static final Logger LOGGER = LoggerFactory.getLogger(RequiredNumbers.class);
    // PostgreSQL's driver says 131089 or 0 digits for NUMERIC without a precision.
    private static final int MOST_DIGITS = 1000;

    @Override
    public void configure(Properties properties) {
    }

    @Override
    public void converterFor(RelationalColumn column, ConverterRegistration<SchemaBuilder> registration) {
        String type = column.typeName().toLowerCase(Locale.ROOT);
        if (column.isOptional() || !type.equals("numeric") && !type.equals("decimal")) {
            return;
        }
        int digits = column.length().orElse(0);
        boolean variable = digits <= 0 || digits > MOST_DIGITS;
        int scale = column.scale().orElse(0);
        SchemaBuilder builder = variable ? VariableScaleDecimal.builder() : Decimal.builder(scale);
        if (!variable) {
            builder.parameter("connect.decimal.precision", String.valueOf(digits));
        }
        Schema schema = builder.optional().parameter("cdc.required", "true").build();
        String name = column.dataCollection() + "." + column.name();
        registration.register(builder, value -> {
            BigDecimal number = number(value, name);
            if (number == null) {
                return null;
            }
            if (!variable) {
                return number.setScale(scale);
            }
            number = number.stripTrailingZeros();
            return VariableScaleDecimal.fromLogical(schema, number.scale() < 0 ? number.setScale(0) : number);
        });
    }

    private static BigDecimal number(Object value, String name) {
        if (value instanceof SpecialValueDecimal) {
            BigDecimal number = ((SpecialValueDecimal) value).getDecimalValue().orElse(null);
            if (number == null) {
                LOGGER.warn("{} of {} cannot be represented and becomes NULL.", value, name);
            }
            return number;
        }
        if (value == null) {
            return null;
        }
        if (value instanceof BigDecimal) {
            return (BigDecimal) value;
        }
        try {
            return new BigDecimal(value.toString());
        }
        catch (NumberFormatException e) {
            LOGGER.warn("{} of {} cannot be represented and becomes NULL.", value, name);
            return null;
        }
    }
}
