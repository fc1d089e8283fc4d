"""The ten-second tumbling count, sum and max by key in Spark Structured Streaming, from a Kafka topic to nowhere.

    spark.py BROKER TOPIC CHECKPOINT_FOLDER JARS

State is in RocksDB, offsets and state are checkpointed to a local folder, as many threads as cores, and as many shuffle partitions.
Prints the rows read and the seconds from the start of the query to its end; the session is up and has run a query before.
"""

import os
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

broker, topic, checkpoint, jars = sys.argv[1:5]
cores = os.cpu_count()
spark = (
    SparkSession.builder.master(f"local[{cores}]")
    .appName("tumbling")
    .config("spark.jars", ",".join(os.path.join(jars, jar) for jar in os.listdir(jars)))
    .config("spark.driver.memory", "4g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", str(cores))
    .config(
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    )
    .config("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
spark.range(1_000_000).selectExpr("sum(id)").collect()

records = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", broker)
    .option("subscribe", topic)
    .option("startingOffsets", "earliest")
    .option("maxOffsetsPerTrigger", "1000000")
    .load()
)
bids = records.select(f.from_json(f.col("value").cast("string"), "key BIGINT, price BIGINT, at TIMESTAMP").alias("bid")).select("bid.*")
totals = (
    bids.withWatermark("at", "1 second")
    .groupBy(f.window("at", "10 seconds"), "key")
    .agg(f.count("*").alias("n"), f.sum("price").alias("total"), f.max("price").alias("top"))
)

start = time.monotonic()
query = (
    totals.writeStream.format("noop")
    .outputMode("append")
    .option("checkpointLocation", checkpoint)
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
seconds = time.monotonic() - start
rows = sum(progress.numInputRows for progress in query.recentProgress)
print(f"{rows} rows {seconds:.2f} seconds")
