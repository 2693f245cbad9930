-- BC-6: no mass call begins within two minutes of a month's end, or with slots of another month.
SELECT a.id, a.batch_id, a.at, b.month
FROM send_attempt a LEFT JOIN send_batch b ON b.id = a.batch_id
CROSS JOIN LATERAL (
    SELECT date_trunc('month', (a.at - interval '120 s') AT TIME ZONE 'Asia/Shanghai')::date AS before,
           date_trunc('month', (a.at + interval '120 s') AT TIME ZONE 'Asia/Shanghai')::date AS after) m
WHERE a.batch_id IS NOT NULL AND a.moment = 'before' AND (m.before <> m.after OR b.month <> m.after)
