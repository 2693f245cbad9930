-- Every daily count equals what the scans and follows say, but for what still waits to be counted.
WITH placed AS (
    SELECT place.*, s.follower_id, business_day(s.scanned_at) AS day,
           extract(hour FROM s.scanned_at AT TIME ZONE 'Asia/Shanghai')::integer AS hour
    FROM scan s
    CROSS JOIN LATERAL (
        VALUES ('account', 0, 0), ('merchant', coalesce(s.merchant_id, 0), 0),
               ('code', coalesce(s.merchant_id, 0), coalesce(s.code_id, 0))
    ) place(level, merchant_id, code_id)
    WHERE (place.level <> 'code' OR place.code_id <> 0)
      AND NOT EXISTS (SELECT 1 FROM uncounted_scan u WHERE u.follower_id = s.follower_id AND u.scan_id = s.id)
), visits AS (
    SELECT level, merchant_id, code_id, follower_id, day, count(*) AS scans,
           day - lag(day) OVER (PARTITION BY level, merchant_id, code_id, follower_id ORDER BY day) AS gap
    FROM placed GROUP BY level, merchant_id, code_id, follower_id, day
), gaps AS (
    SELECT level, merchant_id, code_id, day, array_agg(gap ORDER BY gap) AS gaps, array_agg(seen ORDER BY gap) AS seen
    FROM (
        SELECT level, merchant_id, code_id, day, gap, sum(count(*)) OVER (
            PARTITION BY level, merchant_id, code_id, day ORDER BY gap) AS seen
        FROM visits WHERE gap IS NOT NULL GROUP BY level, merchant_id, code_id, day, gap
    ) steps GROUP BY level, merchant_id, code_id, day
), hours AS (
    SELECT level, merchant_id, code_id, day, array_agg(scans ORDER BY hour) AS by_hour
    FROM (
        SELECT level, merchant_id, code_id, day, each.hour, count(*) FILTER (WHERE placed.hour = each.hour) AS scans
        FROM placed CROSS JOIN generate_series(0, 23) AS each(hour)
        WHERE level <> 'code' GROUP BY level, merchant_id, code_id, day, each.hour
    ) hourly GROUP BY level, merchant_id, code_id, day
), credits AS (
    SELECT a.kind, coalesce(a.merchant_id, 0) AS merchant_id, coalesce(a.code_id, 0) AS code_id, a.followed_at,
           e.ended_at, 1 AS sign
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id WHERE e.voided_at IS NULL
    UNION ALL
    SELECT a.kind, coalesce(a.merchant_id, 0), coalesce(a.code_id, 0), a.followed_at, u.ended_at, -u.sign
    FROM uncounted_follow u JOIN attribution a ON a.id = u.attribution_id
), follow_changes AS (
    SELECT place.*, change.*
    FROM credits
    CROSS JOIN LATERAL (
        VALUES ('account', 0, 0), ('merchant', credits.merchant_id, 0), ('code', credits.merchant_id, credits.code_id)
    ) place(level, merchant_id, code_id)
    CROSS JOIN LATERAL (
        SELECT business_day(followed_at) AS day, sign * (kind = 'new')::integer AS new,
               sign * (kind = 'returning')::integer AS back, 0 AS lost,
               ceil(extract(epoch FROM ended_at - followed_at) / 86400)::integer AS stay, sign
        WHERE kind IN ('new', 'returning')
        UNION ALL
        SELECT business_day(ended_at), 0, 0, sign, NULL, sign WHERE ended_at IS NOT NULL
    ) change
    WHERE place.level <> 'code' OR place.code_id <> 0
), follows AS (
    SELECT level, merchant_id, code_id, day, sum(new) AS new, sum(back) AS back, sum(lost) AS lost
    FROM follow_changes GROUP BY level, merchant_id, code_id, day
), stays AS (
    SELECT level, merchant_id, code_id, day, array_agg(stay ORDER BY stay) AS stays, array_agg(gone ORDER BY stay) AS gone
    FROM (
        SELECT level, merchant_id, code_id, day, stay, sum(sum(sign)) OVER (
            PARTITION BY level, merchant_id, code_id, day ORDER BY stay) AS gone
        FROM follow_changes WHERE stay IS NOT NULL
        GROUP BY level, merchant_id, code_id, day, stay HAVING sum(sign) <> 0
    ) steps GROUP BY level, merchant_id, code_id, day
), scans AS (
    SELECT level, merchant_id, code_id, day, sum(scans) AS scans, count(*) AS scanners
    FROM visits GROUP BY level, merchant_id, code_id, day
), truth AS (
    SELECT level, merchant_id::bigint, code_id::bigint, day, coalesce(scans, 0)::bigint AS scans,
           coalesce(scanners, 0)::bigint AS scanners, coalesce(new, 0)::bigint AS new,
           coalesce(back, 0)::bigint AS back, coalesce(lost, 0)::bigint AS lost,
           coalesce(by_hour::integer[], '{}') AS by_hour, coalesce(gaps.gaps::smallint[], '{}') AS gaps,
           coalesce(gaps.seen::integer[], '{}') AS seen, coalesce(stays.stays::smallint[], '{}') AS stays,
           coalesce(stays.gone::integer[], '{}') AS gone
    FROM scans
    FULL JOIN follows USING (level, merchant_id, code_id, day)
    LEFT JOIN hours USING (level, merchant_id, code_id, day)
    LEFT JOIN gaps USING (level, merchant_id, code_id, day)
    LEFT JOIN stays USING (level, merchant_id, code_id, day)
), kept AS (
    -- Days whose counts all went back to nothing say as much as days that were never there.
    SELECT level, merchant_id, code_id, day, scans::bigint, scanners::bigint, new::bigint, back::bigint,
           lost::bigint, CASE WHEN scans = 0 THEN '{}' ELSE by_hour END AS by_hour, gaps, seen, stays, gone
    FROM daily_traffic
)
SELECT 'should be' AS what, wrong.* FROM (
    SELECT * FROM truth WHERE scans <> 0 OR new <> 0 OR back <> 0 OR lost <> 0 EXCEPT SELECT * FROM kept
) wrong
UNION ALL
SELECT 'is', wrong.* FROM (
    SELECT * FROM kept WHERE scans <> 0 OR new <> 0 OR back <> 0 OR lost <> 0 EXCEPT SELECT * FROM truth
) wrong
