-- The last 7 and 30 days of merchants and codes are the sum of their days.
WITH truth AS (
    SELECT span.days, t.level, t.merchant_id, t.code_id, sum(t.scans) AS scans,
           sum(t.scanners - within(t.gaps, t.seen, t.day - (s.recent_until - span.days + 1))) AS scanners,
           sum(t.new) AS new, sum(t.back) AS back, sum(t.lost) AS lost,
           coalesce(sum(t.new + t.back - within(t.stays, t.gone, 7)) FILTER (WHERE t.day < s.recent_until - 7), 0) AS kept_7
    FROM traffic_state s
    CROSS JOIN (VALUES (7), (30)) span(days)
    JOIN daily_traffic t ON t.day BETWEEN s.recent_until - span.days + 1 AND s.recent_until AND t.level <> 'account'
    GROUP BY span.days, t.level, t.merchant_id, t.code_id
), kept AS (
    -- Those of a former day are not read any more.
    SELECT days, level, merchant_id, code_id, scans, scanners, new, back, lost, kept_7
    FROM recent_traffic WHERE EXISTS (SELECT 1 FROM traffic_state WHERE recent_until IS NOT NULL)
)
(SELECT * FROM truth EXCEPT SELECT * FROM kept)
UNION ALL
(SELECT * FROM kept EXCEPT SELECT * FROM truth)
