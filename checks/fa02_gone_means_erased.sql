-- FA-2: a day after leaving nothing personal is left of a follower (an hour's grace for the job to run).
SELECT id, erase_due_at
FROM follower
WHERE erase_due_at < app_now() - interval '1 hour' OR (erased_at IS NOT NULL AND openid IS NOT NULL)
