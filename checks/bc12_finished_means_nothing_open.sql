-- BC-12: a broadcast that is finished has nothing left to send, and one that has nothing left is soon finished.
SELECT b.id, b.state, o.is_open
FROM broadcast b
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT 1 FROM broadcast_recipient r
                   WHERE r.broadcast_id = b.id AND r.state IN ('planned', 'claimed', 'calling'))
        OR EXISTS (SELECT 1 FROM send_batch s
                   WHERE s.broadcast_id = b.id AND s.state IN ('planned', 'claimed', 'calling')) AS is_open) o
WHERE (o.is_open AND b.finished_at IS NOT NULL)
   OR (b.state = 'finished' AND b.finished_at IS NULL)
   OR (NOT o.is_open AND b.state IN ('running', 'paused')
       AND (SELECT max(r.settled_at) FROM broadcast_recipient r WHERE r.broadcast_id = b.id)
           < app_now() - interval '10 minutes')
