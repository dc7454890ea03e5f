package cdc.workstation;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.connect.data.Struct;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

import io.debezium.processors.spi.PostProcessor;

/**
 * Requests a table's topic as soon as its first event is read, with the broker's defaults. Kafka Connect sends events one
 * after the other and would wait for each new topic: with hundreds of new tables, all the others would wait as long.
 *
 * Options: `bootstrap.servers`. Nothing depends on the request: if it fails, the worker's producer creates the topic.
 */
public class NewTopics implements PostProcessor {

    private static final Logger LOGGER = LoggerFactory.getLogger(NewTopics.class);
    private static final String ENVELOPE = ".Envelope";

    private final Set<String> requested = new HashSet<>();
    private Admin admin;

    @Override
    public void configure(Map<String, ?> options) {
        admin = Admin.create(Map.of("bootstrap.servers", options.get("bootstrap.servers"), "client.id", "new-topics"));
    }

    @Override
    public void apply(Object key, Struct value) {
        // Debezium names the schema of an event after its topic.
        String schema = value == null ? null : value.schema().name();
        if (schema == null || !schema.endsWith(ENVELOPE)) {
            return;
        }
        String topic = schema.substring(0, schema.length() - ENVELOPE.length());
        if (requested.add(topic)) {
            admin.createTopics(List.of(new NewTopic(topic, Optional.empty(), Optional.empty()))).all().whenComplete((done, error) -> {
                if (error != null && !(error instanceof TopicExistsException)) {
                    LOGGER.warn("The topic {} could not be created ahead of its first event", topic, error);
                }
            });
        }
    }

    @Override
    public void close() {
        admin.close();
    }
}
