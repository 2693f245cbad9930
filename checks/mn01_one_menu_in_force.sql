-- An account has at most one menu in force, the one published last, and every earlier one is marked as replaced.
SELECT account_id, id
FROM (
    SELECT account_id, id, replaced_at,
           published_at = max(published_at) OVER (PARTITION BY account_id) AS is_latest,
           count(*) FILTER (WHERE replaced_at IS NULL) OVER (PARTITION BY account_id) AS in_force
    FROM menu_version WHERE state = 'published') v
WHERE in_force <> 1 OR (replaced_at IS NULL AND NOT is_latest)
