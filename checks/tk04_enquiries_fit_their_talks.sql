-- TK-4: a talk is with somebody, who waits has an open enquiry, a closed talk has none, and times come in their order.
SELECT t.id, 'waits without an enquiry' AS what
FROM talk t
WHERE t.state = 'waiting' AND NOT EXISTS (SELECT 1 FROM enquiry e WHERE e.talk_id = t.id AND e.closed_at IS NULL)
UNION ALL
SELECT t.id, 'closed, with an open enquiry'
FROM talk t JOIN enquiry e ON e.talk_id = t.id AND e.closed_at IS NULL
WHERE t.state = 'closed'
UNION ALL
SELECT t.id, 'with nobody'
FROM talk t WHERE NOT EXISTS (SELECT 1 FROM follower f WHERE f.id = t.follower_id)
UNION ALL
SELECT e.talk_id, 'out of order'
FROM enquiry e
WHERE e.first_answer_at < e.opened_at OR e.closed_at < e.opened_at
