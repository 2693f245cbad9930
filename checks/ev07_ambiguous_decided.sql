-- EV-7: whoever followed and left within one second is decided by the platform's user info within ten minutes.
SELECT id, state_as_of
FROM follower
WHERE status = 'ambiguous' AND state_as_of < app_now() - interval '10 minutes'
