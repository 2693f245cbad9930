-- BC-8: every mass call was taken out of its day, its minute and somebody's allotment, and no day or minute holds more
-- than there are.
WITH made AS (
    SELECT (at AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*) AS made
    FROM send_attempt WHERE batch_id IS NOT NULL AND moment = 'before' GROUP BY 1),
allotted AS (SELECT day, sum(used) AS used FROM call_allotment GROUP BY day)
SELECT day::text AS moment, coalesce(d.used, 0) AS used, d.cap::integer AS cap, coalesce(m.made, 0) AS made,
       coalesce(a.used, 0) AS of_allotments
FROM account_day_quota d FULL JOIN made m USING (day) FULL JOIN allotted a USING (day)
WHERE coalesce(d.used, 0) > coalesce(d.cap, 0) OR coalesce(d.used, 0) <> coalesce(m.made, 0)
   OR coalesce(d.used, 0) <> coalesce(a.used, 0)
UNION ALL
SELECT minute::text, used, 60, NULL, NULL FROM account_minute_quota WHERE used > 60
