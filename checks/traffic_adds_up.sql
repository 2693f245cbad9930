-- Over all time new + returning - lost is the number of followers attributed to the merchant now.
SELECT a.merchant_id,
       count(*) FILTER (WHERE a.kind IN ('new', 'returning')) - count(e.ended_at) AS net,
       count(*) FILTER (WHERE e.ended_at IS NULL) AS following
FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
WHERE e.voided_at IS NULL AND a.merchant_id IS NOT NULL
GROUP BY a.merchant_id
HAVING count(*) FILTER (WHERE a.kind IN ('new', 'returning')) - count(e.ended_at)
    <> count(*) FILTER (WHERE e.ended_at IS NULL)
