-- CO-10: what was paid for a redemption or a visit is there as long as it stands, and where it was taken back it was
-- taken back, is owed, or had expired.
WITH cause AS (
    SELECT 'redemption' AS type, id, merchant_id, follower_id, reversed_at FROM redemption
    UNION ALL
    SELECT 'visit', id, merchant_id, follower_id, reversed_at FROM visit),
paid AS (
    SELECT t.*, back.id IS NOT NULL OR debt.transfer_id IS NOT NULL AS is_back,
           t.points <= (
               SELECT coalesce(sum(u.points), 0)
               FROM points_lot l JOIN points_lot_use u ON u.lot_id = l.id
               JOIN points_transfer x ON x.id = u.transfer_id AND x.kind = 'expire'
               WHERE l.transfer_id = t.id OR l.transfer_id = vest.id) AS is_expired
    FROM points_transfer t
    LEFT JOIN points_transfer back ON back.reverses_id = t.id
    LEFT JOIN points_debt debt ON debt.transfer_id = t.id
    LEFT JOIN points_transfer vest ON vest.merchant_id = t.merchant_id AND vest.follower_id = t.follower_id
         AND vest.source_type = 'vest' AND vest.source_id = t.id
    WHERE t.kind = 'earn' AND t.source_type IN ('redemption', 'visit'))
SELECT p.id AS transfer_id, p.source_type, p.source_id
FROM paid p LEFT JOIN cause c ON c.type = p.source_type AND c.id = p.source_id AND c.merchant_id = p.merchant_id
WHERE c.id IS NULL OR c.follower_id <> p.follower_id
   OR (c.reversed_at IS NULL AND p.is_back)
   OR (c.reversed_at IS NOT NULL AND NOT p.is_back AND NOT p.is_expired)
