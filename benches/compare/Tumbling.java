/**
 * The ten-second tumbling count, sum and max by key in Flink SQL, from a Kafka topic to nowhere.
 *
 *     java -cp 'LIB/*' Tumbling.java BROKER TOPIC CHECKPOINT_FOLDER
 *
 * State is in RocksDB, a checkpoint every ten seconds goes to a local folder, parallelism is the number of cores.
 * Prints the seconds from the start of the job to its end; planning and the start of the cluster in this process are part of it.
 */
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

public class Tumbling {
    public static void main(String[] arguments) throws Exception {
        String broker = arguments[0], topic = arguments[1], checkpoints = arguments[2];
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", String.valueOf(Runtime.getRuntime().availableProcessors()));
        settings.setString("state.backend.type", "rocksdb");
        settings.setString("execution.checkpointing.interval", "10 s");
        settings.setString("execution.checkpointing.incremental", "true");
        settings.setString("execution.checkpointing.dir", checkpoints);
        settings.setString("taskmanager.memory.managed.size", "1g");
        settings.setString("taskmanager.memory.network.min", "128m");
        settings.setString("taskmanager.memory.network.max", "128m");
        settings.setString("table.exec.mini-batch.enabled", "true");
        settings.setString("table.exec.mini-batch.allow-latency", "1 s");
        settings.setString("table.exec.mini-batch.size", "5000");
        settings.setString("table.local-time-zone", "UTC");
        TableEnvironment table = TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        table.executeSql("CREATE TABLE bids (`key` BIGINT, price BIGINT, `at` TIMESTAMP(3), WATERMARK FOR `at` AS `at` - INTERVAL '1' SECOND) WITH ("
            + "'connector' = 'kafka', 'topic' = '" + topic + "', 'properties.bootstrap.servers' = '" + broker + "', 'properties.group.id' = 'bench', "
            + "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json', "
            + "'json.timestamp-format.standard' = 'ISO-8601')");
        table.executeSql("CREATE TABLE nowhere (window_start TIMESTAMP(3), `key` BIGINT, n BIGINT, total BIGINT, top BIGINT) WITH ('connector' = 'blackhole')");
        long start = System.nanoTime();
        table.executeSql("INSERT INTO nowhere SELECT window_start, `key`, count(*), sum(price), max(price) "
            + "FROM TUMBLE(TABLE bids, DESCRIPTOR(`at`), INTERVAL '10' SECOND) GROUP BY window_start, window_end, `key`").await();
        System.out.printf("%.2f seconds%n", (System.nanoTime() - start) / 1e9);
    }
}
