-- PT-9: of every lot, what was spent, expired and is left is what was earned; nothing expires before its time; what a
-- person has to spend is in lots.
SELECT 'lot' AS what, l.id, l.earned AS should, l.remaining + coalesce(sum(u.points), 0) AS found
FROM points_lot l LEFT JOIN points_lot_use u ON u.lot_id = l.id
GROUP BY l.id HAVING l.remaining + coalesce(sum(u.points), 0) <> l.earned
UNION ALL
SELECT 'expired early', l.id, l.earned, u.points
FROM points_lot_use u JOIN points_lot l ON l.id = u.lot_id JOIN points_transfer t ON t.id = u.transfer_id
WHERE t.source_type = 'lot' AND (l.expires_at IS NULL OR t.at < l.expires_at)
UNION ALL
SELECT 'account', a.id, a.balance, coalesce(sum(l.remaining), 0)
FROM points_account a LEFT JOIN points_lot l ON l.account_id = a.id
WHERE a.kind = 'fan'
GROUP BY a.id HAVING a.balance <> coalesce(sum(l.remaining), 0)
UNION ALL
SELECT 'transfer', t.id, t.points, coalesce(sum(u.points), 0)
FROM points_transfer t
JOIN points_entry e ON e.transfer_id = t.id AND e.points < 0
JOIN points_account a ON a.id = e.account_id AND a.kind = 'fan'
LEFT JOIN points_lot_use u ON u.transfer_id = t.id
GROUP BY t.id HAVING t.points <> coalesce(sum(u.points), 0)
