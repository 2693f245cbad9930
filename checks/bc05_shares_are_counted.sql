-- BC-5: a merchant's part of the month is what its recipients hold in batches, given back with their slots.
WITH held AS (
    SELECT b.merchant_id, b.month, count(*) AS held
    FROM broadcast_recipient r JOIN send_batch b ON b.id = r.batch_id
    WHERE b.merchant_id IS NOT NULL AND r.state IN ('planned', 'claimed', 'calling', 'sent', 'unknown')
    GROUP BY b.merchant_id, b.month)
SELECT merchant_id, month, coalesce(q.used, 0) AS used, coalesce(h.held, 0) AS held
FROM merchant_month_quota q FULL JOIN held h USING (merchant_id, month)
WHERE coalesce(q.used, 0) <> coalesce(h.held, 0)
