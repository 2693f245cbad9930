-- PT-10: what a rule has paid on a day is counted, to each person and to everybody, and within its limits.
WITH paid AS (
    SELECT rule_id, CAST(at AT TIME ZONE 'Asia/Shanghai' AS date) AS day, follower_id, sum(points) AS points
    FROM points_transfer WHERE kind = 'earn' AND rule_id IS NOT NULL
    GROUP BY rule_id, day, GROUPING SETS ((follower_id), ()))
SELECT rule_id, day, d.follower_id, d.paid, d.most, p.points
FROM points_rule_day d JOIN paid p USING (rule_id, day)
WHERE d.follower_id IS NOT DISTINCT FROM p.follower_id AND (d.paid <> p.points OR d.paid > d.most)
UNION ALL
SELECT rule_id, day, p.follower_id, NULL, NULL, p.points
FROM paid p
WHERE NOT EXISTS (
    SELECT 1 FROM points_rule_day d
    WHERE d.rule_id = p.rule_id AND d.day = p.day AND d.follower_id IS NOT DISTINCT FROM p.follower_id)
UNION ALL
SELECT rule_id, day, d.follower_id, d.paid, d.most, NULL
FROM points_rule_day d
WHERE d.paid > 0 AND NOT EXISTS (
    SELECT 1 FROM paid p
    WHERE p.rule_id = d.rule_id AND p.day = d.day AND p.follower_id IS NOT DISTINCT FROM d.follower_id)
