-- PT-1: what a transfer gives, somebody receives: at least two entries, and their sum is nothing.
SELECT t.id, coalesce(sum(e.points), 0) AS sum, count(e.transfer_id) AS entries
FROM points_transfer t LEFT JOIN points_entry e ON e.transfer_id = t.id
GROUP BY t.id HAVING coalesce(sum(e.points), 0) <> 0 OR count(e.transfer_id) < 2
