-- CX-2: no question outlives its day by far, and what waits for its answer was said by whom it was put to.
SELECT q.follower_id, q.kind, q.expires_at
FROM pending_question q
WHERE greatest(q.expires_at, q.put_at) < app_now() - interval '40 days'
   OR EXISTS (SELECT 1 FROM inbox_event i WHERE i.id = ANY(q.inbox_ids) AND i.follower_id <> q.follower_id)
