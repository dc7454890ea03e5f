package cdc.workstation;

import java.lang.management.ManagementFactory;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;

import javax.management.JMException;
import javax.management.ObjectName;
import javax.management.StandardMBean;

import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.LogEvent;
import org.apache.logging.log4j.core.appender.AbstractAppender;
import org.apache.logging.log4j.core.config.Property;
import org.apache.logging.log4j.core.config.plugins.Plugin;
import org.apache.logging.log4j.core.config.plugins.PluginAttribute;
import org.apache.logging.log4j.core.config.plugins.PluginFactory;

/**
 * Counts what connectors leave out instead of giving up: rows, statements, values. Debezium tells of it in its log alone;
 * this makes beans of it (`cdc.workstation:type=left-out,kind=rows`), for Prometheus.
 */
@Plugin(name = "LeftOut", category = "Core", elementType = "appender")
public final class LeftOut extends AbstractAppender {

    /** What can be left out. */
    public enum Kind {
        rows,
        statements,
        values
    }

    /** A counter as a bean. */
    public interface Counter {
        long getCount();
    }

    private static final Map<Kind, AtomicLong> COUNTS = new EnumMap<>(Kind.class);

    private LeftOut(String name) {
        super(name, null, null, true, Property.EMPTY_ARRAY);
    }

    @PluginFactory
    public static synchronized LeftOut create(@PluginAttribute("name") String name) {
        for (Kind kind : Kind.values()) {
            AtomicLong count = COUNTS.computeIfAbsent(kind, any -> new AtomicLong());
            try {
                ObjectName bean = new ObjectName("cdc.workstation:type=left-out,kind=" + kind);
                if (!ManagementFactory.getPlatformMBeanServer().isRegistered(bean)) {
                    Counter counter = count::get;
                    ManagementFactory.getPlatformMBeanServer().registerMBean(new StandardMBean(counter, Counter.class), bean);
                }
            }
            catch (JMException e) {
                LOGGER.error("No bean for {}", kind, e);
            }
        }
        return new LeftOut(name);
    }

    @Override
    public void append(LogEvent event) {
        if (event.getLevel().isMoreSpecificThan(Level.WARN)) {
            Kind kind = kind(event.getLoggerName(), event.getMessage().getFormattedMessage());
            if (kind != null) {
                COUNTS.get(kind).incrementAndGet();
            }
        }
    }

    /** Returns what a message of Debezium 3.6 or of our own classes tells of, or null. */
    static Kind kind(String logger, String message) {
        switch (logger.substring(logger.lastIndexOf('.') + 1)) {
            case "EventDispatcher":
                return message.startsWith("Error while processing event") ? Kind.rows : null;
            case "MySqlStreamingChangeEventSource":
            case "BinlogStreamingChangeEventSource":
                return message.startsWith("Encountered change event") || message.startsWith("Error while deserializing") ? Kind.rows : null;
            case "EventBuffer":
                return Kind.rows;
            case "MySqlDatabaseSchema":
            case "BinlogDatabaseSchema":
                return message.startsWith("Ignoring unparseable DDL") ? Kind.statements : null;
            case "DdlNormalizer":
                return Kind.statements;
            case "TableSchemaBuilder":
                return message.startsWith("Failed to properly convert") ? Kind.values : null;
            case "PostgresValues":
                return Kind.values;
            default:
                return null;
        }
    }
}
