-- BC-10: no more messages were called than a window allowed, and what was called was counted.
SELECT w.inbox_id, w.used, w.allowance, f.called + n.called AS called
FROM message_window w
CROSS JOIN LATERAL (
    SELECT count(*) AS called FROM follow_up f
    WHERE f.inbox_id = w.inbox_id AND f.state IN ('calling', 'sent', 'unknown')) f
CROSS JOIN LATERAL (
    SELECT count(*) AS called FROM staff_notice n
    WHERE n.window_id = w.inbox_id AND n.state IN ('calling', 'sent', 'unknown')) n
WHERE f.called + n.called > w.used OR w.used > w.allowance
