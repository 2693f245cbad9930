-- EV-14: nothing that WeChat delivered is from the future.
SELECT id, event_at, received_at
FROM inbox_event
WHERE source = 'event' AND event_at > received_at + interval '6 minutes'
