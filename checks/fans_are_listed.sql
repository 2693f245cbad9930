-- Whoever is attributed to a merchant and follows is in its list, unless forgotten on request since that follow.
SELECT a.merchant_id, e.follower_id
FROM follow_episode e
JOIN attribution a ON a.id = e.attribution_id
LEFT JOIN fan f ON f.merchant_id = a.merchant_id AND f.follower_id = e.follower_id
WHERE e.ended_at IS NULL AND e.voided_at IS NULL AND a.merchant_id IS NOT NULL
  AND (f.follower_id IS NULL OR f.erased_at < e.started_at)
