-- EV-8: an episode points at its newest attribution, which nothing supersedes.
SELECT e.id, e.attribution_id
FROM follow_episode e
LEFT JOIN attribution a ON a.id = e.attribution_id AND a.episode_id = e.id
LEFT JOIN attribution later ON later.supersedes = e.attribution_id
WHERE a.id IS NULL OR later.id IS NOT NULL
