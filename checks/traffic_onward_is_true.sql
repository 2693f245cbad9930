-- Where followers scan next is what their follows and scans say, but for people of whom something waits to be counted.
WITH waiting AS (
    SELECT follower_id FROM uncounted_scan
    UNION
    SELECT a.follower_id FROM uncounted_follow u JOIN attribution a ON a.id = u.attribution_id
), truth AS (
    SELECT e.id AS episode_id, e.follower_id, a.merchant_id AS from_merchant_id, next.merchant_id AS to_merchant_id,
           next.scanned_at
    FROM follow_episode e
    JOIN attribution a ON a.id = e.attribution_id AND a.kind IN ('new', 'returning')
    CROSS JOIN LATERAL (
        SELECT s.merchant_id, s.scanned_at FROM scan s
        WHERE s.follower_id = e.follower_id AND s.scanned_at >= a.followed_at
          AND (e.ended_at IS NULL OR s.scanned_at <= e.ended_at) AND s.merchant_id <> a.merchant_id
        ORDER BY s.scanned_at, s.id LIMIT 1
    ) next
    WHERE e.voided_at IS NULL
)
SELECT * FROM (
    (SELECT * FROM truth EXCEPT SELECT * FROM onward_scan)
    UNION ALL
    (SELECT * FROM onward_scan EXCEPT SELECT * FROM truth)
) wrong
WHERE follower_id NOT IN (SELECT follower_id FROM waiting)
