-- CO-9: whoever is blocked was given nothing since, and nobody forgotten holds anything.
SELECT c.id, c.follower_id, 'blocked' AS what
FROM benefit_block b JOIN coupon c ON c.follower_id = b.follower_id
WHERE c.given_at > b.blocked_at + interval '5 seconds'
UNION ALL
SELECT c.id, c.follower_id, 'erased'
FROM follower f JOIN coupon c ON c.follower_id = f.id
WHERE f.erased_at IS NOT NULL AND c.state IN ('issued', 'reserved')
