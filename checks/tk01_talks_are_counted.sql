-- TK-1: what a talk says of itself is what its messages say: what nobody has seen, since when somebody waits, and what
-- goes out at the next hello.
SELECT t.id, t.state, t.unread, m.unread AS unread_of_rows, t.waiting_since, m.since, t.waiting_out, m.waiting_out AS out
FROM talk t
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE m.waits AND m.id > t.read_to) AS unread,
           min(m.at) FILTER (WHERE m.waits AND m.id > t.settled_to) AS since,
           count(*) FILTER (WHERE m.state = 'waiting') AS waiting_out
    FROM talk_message m WHERE m.merchant_id = t.merchant_id AND m.talk_id = t.id) m ON true
WHERE t.unread <> m.unread OR t.waiting_since IS DISTINCT FROM m.since OR t.waiting_out <> m.waiting_out
