-- PT-8: a reversal takes no more than was earned, with what is owed for it, and from whom it was given; what somebody
-- owes is what could not be taken back, less what was paid of it since.
SELECT 'reversal' AS what, t.id, t.points AS earned, coalesce(r.points, 0) + coalesce(d.points, 0) AS taken
FROM points_transfer t
LEFT JOIN points_transfer r ON r.reverses_id = t.id
LEFT JOIN points_debt d ON d.transfer_id = t.id
WHERE (r.id IS NOT NULL OR d.transfer_id IS NOT NULL)
  AND (t.kind <> 'earn' OR r.follower_id <> t.follower_id OR r.merchant_id <> t.merchant_id
       OR coalesce(r.points, 0) + coalesce(d.points, 0) > t.points)
UNION ALL
SELECT 'debt', a.id, a.debt, owed.points - paid.points
FROM points_account a
CROSS JOIN LATERAL (SELECT coalesce(sum(points), 0) AS points FROM points_debt WHERE account_id = a.id) owed
CROSS JOIN LATERAL (
    SELECT coalesce(sum(points), 0) AS points FROM points_transfer
    WHERE merchant_id = a.merchant_id AND follower_id = a.follower_id AND source_type = 'debt') paid
WHERE a.kind = 'fan' AND a.debt <> owed.points - paid.points
