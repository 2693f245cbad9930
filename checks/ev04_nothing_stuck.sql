-- EV-4: no task stays due without anybody taking it.
SELECT id, kind, queue, attempts, next_try_at
FROM outbox
WHERE state = 'pending' AND next_try_at < clock_timestamp() - interval '10 minutes'
