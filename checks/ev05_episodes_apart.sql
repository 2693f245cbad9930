-- EV-5: episodes of one follower do not overlap.
SELECT a.follower_id, a.id, b.id AS other
FROM follow_episode a
JOIN follow_episode b ON b.follower_id = a.follower_id AND b.started_at > a.started_at AND b.voided_at IS NULL
WHERE a.voided_at IS NULL AND (a.ended_at IS NULL OR a.ended_at > b.started_at)
