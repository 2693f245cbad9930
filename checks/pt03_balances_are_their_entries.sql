-- PT-3: a balance is the sum of its account's entries.
SELECT a.id, a.balance, coalesce(sum(e.points), 0) AS entries
FROM points_account a LEFT JOIN points_entry e ON e.account_id = a.id
WHERE a.balance IS NOT NULL
GROUP BY a.id HAVING a.balance <> coalesce(sum(e.points), 0)
