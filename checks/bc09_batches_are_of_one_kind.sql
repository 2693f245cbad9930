-- BC-9: what was called has as many recipients as it says, two to ten thousand, all of one broadcast, merchant, text
-- and composition.
SELECT b.id, b.size, r.people, r.strangers
FROM send_batch b
CROSS JOIN LATERAL (
    SELECT count(*) AS people,
           count(*) FILTER (
               WHERE o.route <> 'mass' OR (o.broadcast_id, o.variant, o.group_no) <> (b.broadcast_id, b.variant, b.group_no)
                  OR o.merchant_id IS DISTINCT FROM b.merchant_id) AS strangers
    FROM broadcast_recipient o
    WHERE o.batch_id = b.id AND o.state IN ('planned', 'claimed', 'calling', 'sent', 'unknown', 'rejected')) r
WHERE b.state IN ('calling', 'accepted', 'unknown', 'rejected')
  AND (b.size NOT BETWEEN 2 AND 10000 OR r.people <> b.size OR r.strangers > 0)
