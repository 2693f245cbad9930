-- PT-2: what people hold at a merchant is what it has issued, and nobody holds less than nothing.
WITH held AS (
    SELECT merchant_id, sum(balance) AS points, min(balance) AS least FROM points_account GROUP BY merchant_id),
issued AS (
    SELECT a.merchant_id, sum(e.points) AS points
    FROM points_account a JOIN points_entry e ON e.account_id = a.id
    WHERE a.kind = 'issued' GROUP BY a.merchant_id)
SELECT merchant_id, held.points AS held, issued.points AS issued, held.least
FROM held LEFT JOIN issued USING (merchant_id)
WHERE coalesce(held.points, 0) + coalesce(issued.points, 0) <> 0 OR held.least < 0
