-- EV-2: one inbox row per logical event, over all months.
SELECT account_id, dedupe_key, count(*)
FROM inbox_event
GROUP BY account_id, dedupe_key
HAVING count(*) > 1
