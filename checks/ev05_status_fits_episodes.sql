-- EV-5: who follows has an open episode, who left has none.
SELECT f.id, f.status
FROM follower f
LEFT JOIN follow_episode e ON e.follower_id = f.id AND e.ended_at IS NULL AND e.voided_at IS NULL
WHERE (f.status = 'following' AND e.id IS NULL) OR (f.status IN ('gone', 'unknown') AND e.id IS NOT NULL)
