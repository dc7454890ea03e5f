package cdc.workstation;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

import org.apache.kafka.clients.admin.Admin;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import io.debezium.schema.AbstractTopicNamingStrategy;
import io.debezium.spi.schema.DataCollectionId;

/**
 * Gives each table a topic of its own: `prefix.database.table` as Debezium does, but characters that a topic's name cannot
 * have are written as `-u<code point in hexadecimal>-` instead of being replaced by `_`, where two names become one.
 *
 * Kafka refuses a topic whose name differs from another's only in `.` and `_`, and a connector that writes to it stands
 * still for all tables. The table that comes second gets its first character written that way, too. Names that belong to
 * another connector with the same prefix (`topic.naming.reserved`, an expression for databases or schemas) as well.
 * cdc_workstation.sink.source_changes computes the same names.
 */
public class TableTopicNames extends AbstractTopicNamingStrategy<DataCollectionId> {

    private static final Logger LOGGER = LoggerFactory.getLogger(TableTopicNames.class);
    private static final int HASH_CHARACTERS = 16;

    // Kept as long as the worker runs: a new table should not wait for a connection, and nobody says when a task is over.
    private static final Map<String, Admin> ADMINS = new ConcurrentHashMap<>();

    private Pattern reserved;
    private String bootstrapServers;
    private Map<String, String> topics;
    private long listedAt;

    public TableTopicNames(Properties properties) {
        super(properties);
    }

    @Override
    public void configure(Properties properties) {
        super.configure(properties);
        String expression = properties.getProperty("topic.naming.reserved", "");
        reserved = expression.isBlank() ? null : Pattern.compile(expression);
        bootstrapServers = properties.getProperty("signal.kafka.bootstrap.servers", "");
        topics = new HashMap<>();
        listedAt = 0;
    }

    @Override
    public String dataChangeTopic(DataCollectionId id) {
        return topicNames.computeIfAbsent(id, this::topic);
    }

    private synchronized String topic(DataCollectionId id) {
        List<String> names = named(id.schemaParts());
        if (names.size() < 2) {
            // MySQL has databases where others have schemas.
            names = named(id.databaseParts());
        }
        List<String> parts = new ArrayList<>(names);
        int last = parts.size() - 1;
        boolean belongsToAnother = reserved != null && last > 0 && reserved.matcher(parts.get(0)).matches();
        for (int i = 0; i <= last; i++) {
            parts.set(i, escaped(parts.get(i), belongsToAnother && i == 0));
        }
        String name = shortened(prefix + delimiter + String.join(delimiter, parts));
        String taken = owner(name);
        if (taken != null && !taken.equals(name)) {
            parts.set(last, escaped(names.get(last), true));
            String other = shortened(prefix + delimiter + String.join(delimiter, parts));
            LOGGER.warn("The topic {} of table {} would collide with {} in Kafka; it is {}.", name, id, taken, other);
            name = other;
        }
        topics.put(merged(name), name);
        return name;
    }

    private static List<String> named(List<String> parts) {
        return parts.stream().filter(part -> part != null && !part.isEmpty()).toList();
    }

    /** Returns the topic that Kafka takes for the same as this one, or null. */
    private String owner(String name) {
        String found = topics.get(merged(name));
        if (found == null && !bootstrapServers.isBlank() && System.nanoTime() - listedAt > TimeUnit.SECONDS.toNanos(1)) {
            try {
                for (String topic : ADMINS.computeIfAbsent(bootstrapServers, TableTopicNames::admin).listTopics().names().get(10, TimeUnit.SECONDS)) {
                    topics.putIfAbsent(merged(topic), topic);
                }
            }
            catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            catch (Exception e) {
                LOGGER.warn("Topics could not be listed; two tables may collide in Kafka", e);
            }
            listedAt = System.nanoTime();
            found = topics.get(merged(name));
        }
        return found;
    }

    private static Admin admin(String servers) {
        return Admin.create(Map.of("bootstrap.servers", servers, "client.id", "table-topic-names"));
    }

    private static String merged(String topic) {
        return topic.replace('.', '_');
    }

    /** Writes what a topic cannot have, and the first character if asked, as `-u<code point>-`; never two names alike. */
    static String escaped(String name, boolean first) {
        StringBuilder result = new StringBuilder();
        for (int i = 0; i < name.length();) {
            int c = name.codePointAt(i);
            int next = i + Character.charCount(c);
            boolean plain = c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
                    || c == '-' && !(next < name.length() && name.charAt(next) == 'u');
            if (plain && !(first && i == 0)) {
                result.appendCodePoint(c);
            }
            else {
                result.append("-u").append(Integer.toHexString(c)).append('-');
            }
            i = next;
        }
        return result.toString();
    }

    static String shortened(String topic) {
        if (topic.length() <= MAX_NAME_LENGTH) {
            return topic;
        }
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(topic.getBytes(StandardCharsets.UTF_8));
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < HASH_CHARACTERS / 2; i++) {
                text.append(String.format("%02x", hash[i]));
            }
            return topic.substring(0, MAX_NAME_LENGTH - HASH_CHARACTERS - 1) + "-" + text;
        }
        catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
