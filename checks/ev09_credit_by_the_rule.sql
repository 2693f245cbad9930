-- EV-9: each follow is judged by the version in force at its time: who comes back within its window after leaving
-- stays with the former merchant; a first follow is new only once.
WITH told AS (
    SELECT e.follower_id, e.started_at, a.kind, a.merchant_id, a.rule_version,
           lag(e.ended_at) OVER following AS left_at,
           lag(a.merchant_id) OVER following AS former_merchant_id,
           row_number() OVER following AS place
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
    WHERE e.voided_at IS NULL
    WINDOW following AS (PARTITION BY e.follower_id ORDER BY e.started_at)
)
SELECT told.follower_id, told.started_at, told.kind, told.merchant_id, told.rule_version
FROM told
LEFT JOIN LATERAL (
    SELECT version, make_interval(hours => 24 * protection_days) AS protection FROM attribution_rule
    WHERE withdrawn_at IS NULL AND effective_from <= told.started_at
    ORDER BY effective_from DESC, version DESC LIMIT 1) rule ON true
WHERE (kind = 'new' AND place > 1)
   OR rule_version IS DISTINCT FROM rule.version
   OR (former_merchant_id IS NOT NULL AND started_at - left_at <= rule.protection
       AND merchant_id IS DISTINCT FROM former_merchant_id)
