-- TK-3: the answers of a talk are called one at a time, in the order in which they were written; one that the platform
-- turned away may be later.
SELECT id, talk_id
FROM (
    SELECT m.id, m.talk_id, m.calling_at, m.state,
           max(m.calling_at) FILTER (WHERE m.turned_away = 0) OVER earlier AS earlier_at,
           count(*) FILTER (WHERE m.state = 'calling') OVER earlier AS calling_before
    FROM talk_message m
    WHERE m.calling_at IS NOT NULL
    WINDOW earlier AS (PARTITION BY m.talk_id ORDER BY m.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) called
WHERE calling_at < earlier_at OR calling_before > 0
