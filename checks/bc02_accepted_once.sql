-- BC-2: of one fan, and of one batch, the platform accepted one message of a broadcast: whatever was tried, one attempt
-- at most came back as sent.
SELECT broadcast_id, follower_id, batch_id, count(*) AS accepted
FROM send_attempt
WHERE moment = 'after' AND outcome = 'sent'
GROUP BY broadcast_id, follower_id, batch_id HAVING count(*) > 1
