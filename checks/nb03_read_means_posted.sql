-- NB-3: nobody has read what was never put up, nor before it was; and readers who are known no more are a number.
SELECT r.notice_id, r.follower_id
FROM notice_read r JOIN notice n ON n.id = r.notice_id
WHERE n.published_at IS NULL OR r.at < n.published_at - interval '1 minute'
UNION ALL
SELECT id, NULL FROM notice WHERE forgotten_reads < 0 OR (published_at IS NULL AND forgotten_reads > 0)
