-- TK-2: an answer goes out in a window that its own fan opened in a conversation with its own merchant (BC-10).
SELECT m.id, m.window_id
FROM talk_message m
JOIN talk t ON t.merchant_id = m.merchant_id AND t.id = m.talk_id
JOIN message_window w ON w.inbox_id = m.window_id
WHERE w.merchant_id IS DISTINCT FROM m.merchant_id OR w.follower_id <> t.follower_id
