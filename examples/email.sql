-- How often was each email opened, hour by hour, if openings may be reported up to a day late?
--
-- The source makes up a million openings: 20,000 seconds of event time each second, every one up to 40 minutes out of order, some far too
-- late, and some of them garbage. To read a real topic instead, replace the WITH clause (docs/sources/kafka.md).

CREATE SOURCE email_opened (
  email_id BIGINT,
  subscriber_id BIGINT,
  opened_at TIMESTAMP,
  WATERMARK FOR opened_at AS opened_at - INTERVAL '24 hours'
) WITH (
  connector = 'datagen',
  datagen.rows.per.second = '10000',
  rows.total = '1000000',
  malformed.fraction = '0.001',
  fields.email_id.min = '1',
  fields.email_id.max = '20',
  fields.subscriber_id.min = '1',
  fields.subscriber_id.max = '50000',
  fields.opened_at.kind = 'sequence',
  fields.opened_at.start = '2025-01-01 00:00:00',
  fields.opened_at.step = '2 seconds',
  fields.opened_at.max_past = '40 minutes',
  fields.opened_at.late.fraction = '0.002',
  fields.opened_at.late.by = '30 hours'
);

-- One row for each email and hour. It is corrected while openings of its hour come in, and final 24 hours (of event time) after the hour.
CREATE MATERIALIZED VIEW opens_per_hour AS
SELECT window_start, email_id, count(*) AS opens, max(opened_at) AS last_opened_at
FROM TUMBLE(email_opened, opened_at, INTERVAL '1 hour')
GROUP BY window_start, email_id;
