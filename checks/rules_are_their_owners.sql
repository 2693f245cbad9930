-- A rule's versions, pictures and answered events are those of the rule's own merchant; each rule has a version.
SELECT 'version' AS what, v.id
FROM reply_rule_version v JOIN reply_rule r ON r.id = v.rule_id
WHERE v.merchant_id IS DISTINCT FROM r.merchant_id
UNION ALL
SELECT 'picture', v.id
FROM reply_rule_version v
CROSS JOIN LATERAL jsonb_array_elements(v.answers) a
LEFT JOIN picture p ON p.id = (a ->> 'picture_id')::bigint
WHERE a ->> 'picture_id' IS NOT NULL AND (p.id IS NULL OR p.merchant_id IS DISTINCT FROM v.merchant_id)
UNION ALL
SELECT 'event', e.id
FROM inbox_event e JOIN reply_rule r ON r.id = e.rule_id
WHERE e.rule_id IS NOT NULL AND r.merchant_id IS NOT NULL AND e.merchant_id IS DISTINCT FROM r.merchant_id
UNION ALL
SELECT 'empty', r.id
FROM reply_rule r
WHERE NOT EXISTS (SELECT 1 FROM reply_rule_version v WHERE v.rule_id = r.id)
