-- CX-1: whom somebody talks to was said in a message or a tap of their own, at that moment, and is a merchant of the
-- account they follow.
SELECT c.inbox_id, c.follower_id, c.merchant_id
FROM context_choice c
JOIN follower f ON f.id = c.follower_id
LEFT JOIN merchant m ON m.id = c.merchant_id
LEFT JOIN inbox_event i ON i.id = c.inbox_id AND i.month = date_trunc('month', c.at AT TIME ZONE 'UTC')::date
WHERE (c.merchant_id IS NOT NULL AND m.account_id IS DISTINCT FROM f.account_id)
   OR i.follower_id IS DISTINCT FROM c.follower_id OR i.event_at IS DISTINCT FROM c.at
