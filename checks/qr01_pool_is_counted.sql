-- QR-1: the pool counts every permanent code ever planned, retired ones included.
SELECT p.account_id, p.used, count(c.id)
FROM scene_pool p
LEFT JOIN sub_qr_code c ON c.account_id = p.account_id AND c.permanent AND NOT c.adopted
GROUP BY p.account_id, p.used
HAVING p.used <> count(c.id)
