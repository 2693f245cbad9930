-- PT-5: a cause pays once by a rule, and one person; only a day's check-in is everybody's.
SELECT merchant_id, source_type, source_id, rule_id, count(*) AS transfers
FROM points_transfer
GROUP BY merchant_id, source_type, source_id, rule_id, CASE WHEN source_type = 'check_in' THEN follower_id END
HAVING count(*) > 1
