-- AU-9: points changed by hand have a row that says who did it, above the limit two people, and are in the audit log.
SELECT 'transfer' AS what, t.id
FROM points_transfer t
WHERE t.kind = 'adjust' AND NOT EXISTS (
    SELECT 1 FROM points_adjustment a
    WHERE t.source_type = 'adjustment' AND a.id = t.source_id AND a.merchant_id = t.merchant_id
      AND a.follower_id = t.follower_id AND abs(a.points) = t.points AND a.state = 'done')
UNION ALL
SELECT 'adjustment', a.id
FROM points_adjustment a
WHERE (a.state = 'done' AND NOT EXISTS (
          SELECT 1 FROM points_transfer t WHERE t.source_type = 'adjustment' AND t.source_id = a.id))
   OR (a.state = 'done' AND a.needs_second AND (a.decided_by IS NULL OR a.decided_by = a.asked_by))
   OR NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.subject = 'adjustment:' || a.id)
