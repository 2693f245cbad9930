-- AU-9: every audit entry carries the hash of the one before, its own hash fits its contents, and none is cut off.
WITH chained AS (
    SELECT audit_log, id, hash, previous_hash, lag(hash, 1, ''::bytea) OVER (ORDER BY id) AS expected FROM audit_log
)
SELECT id
FROM chained
WHERE previous_hash <> expected OR hash <> audit_hash(audit_log)
UNION ALL
SELECT last.id
FROM audit_head head
LEFT JOIN (SELECT id, hash FROM audit_log ORDER BY id DESC LIMIT 1) last ON true
WHERE head.hash <> coalesce(last.hash, ''::bytea)
