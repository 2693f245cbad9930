-- BC-10: no more messages were called than a window allowed, and what was called was counted. Broadcasts leave the last
-- two for answers, stay in their merchant's conversation, and go by themselves only where offers were asked for.
WITH broadcasts AS (
    SELECT r.window_id, count(*) AS called,
           bool_or(r.merchant_id IS DISTINCT FROM w.merchant_id) AS is_elsewhere,
           bool_or(r.route = 'window' AND NOT w.wants_offers) AS is_unasked
    FROM broadcast_recipient r JOIN message_window w ON w.inbox_id = r.window_id
    WHERE r.state IN ('calling', 'sent', 'unknown')
    GROUP BY r.window_id)
SELECT w.inbox_id, w.used, w.allowance, f.called + n.called + a.called + coalesce(b.called, 0) AS called,
       coalesce(b.called, 0) AS broadcasts, b.is_elsewhere, b.is_unasked
FROM message_window w
CROSS JOIN LATERAL (
    SELECT count(*) AS called FROM follow_up f
    WHERE f.inbox_id = w.inbox_id AND f.state IN ('calling', 'sent', 'unknown')) f
CROSS JOIN LATERAL (
    SELECT count(*) AS called FROM staff_notice n
    WHERE n.window_id = w.inbox_id AND n.state IN ('calling', 'sent', 'unknown')) n
CROSS JOIN LATERAL (
    SELECT count(*) AS called FROM talk_message m
    WHERE m.window_id = w.inbox_id AND m.state IN ('calling', 'sent', 'unknown')) a
LEFT JOIN broadcasts b ON b.window_id = w.inbox_id
WHERE f.called + n.called + a.called + coalesce(b.called, 0) > w.used OR w.used > w.allowance
   OR b.called > w.allowance - 2 OR b.is_elsewhere OR b.is_unasked
