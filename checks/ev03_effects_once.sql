-- EV-3: an event has at most one scan, and every scan has its event.
SELECT s.inbox_id, count(*), min(i.id)
FROM scan s LEFT JOIN inbox_event i ON i.id = s.inbox_id AND i.month = s.month
GROUP BY s.inbox_id
HAVING count(*) > 1 OR min(i.id) IS NULL
