/** Makes a topic: java -cp 'LIB/*' Topic.java BROKER NAME PARTITIONS. */
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

public class Topic {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", arguments[0]))) {
            admin.createTopics(List.of(new NewTopic(arguments[1], Integer.parseInt(arguments[2]), (short) 1))).all().get();
        }
    }
}
