-- BC-4, BC-5: nobody has more than four mass messages a month, and exactly those recipients hold a slot who are in a
-- batch and were not certainly left out: what nobody knows keeps its slot, what was refused has given it back.
WITH held AS (
    SELECT r.follower_id, b.month, count(*) AS held
    FROM broadcast_recipient r JOIN send_batch b ON b.id = r.batch_id
    WHERE r.route = 'mass' AND r.state IN ('planned', 'claimed', 'calling', 'sent', 'unknown')
    GROUP BY r.follower_id, b.month)
SELECT follower_id, month, coalesce(q.used, 0) AS used, coalesce(h.held, 0) AS held
FROM fan_month_quota q FULL JOIN held h USING (follower_id, month)
WHERE coalesce(q.used, 0) <> coalesce(h.held, 0) OR coalesce(q.used, 0) > 4
