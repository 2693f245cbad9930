-- CO-10: what was paid for a redemption or a visit is there as long as it stands, and taken back where it was taken back.
WITH cause AS (
    SELECT 'redemption' AS type, id, merchant_id, follower_id, reversed_at FROM redemption
    UNION ALL
    SELECT 'visit', id, merchant_id, follower_id, reversed_at FROM visit)
SELECT t.id AS transfer_id, t.source_type, t.source_id
FROM points_transfer t
LEFT JOIN cause c ON c.type = t.source_type AND c.id = t.source_id AND c.merchant_id = t.merchant_id
LEFT JOIN points_transfer back ON back.reverses_id = t.id
WHERE t.kind = 'earn' AND t.source_type IN ('redemption', 'visit')
  AND (c.id IS NULL OR c.follower_id <> t.follower_id OR (c.reversed_at IS NULL) <> (back.id IS NULL))
