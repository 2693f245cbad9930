-- BC-15: every attempt carries the hash of the words that were agreed to.
SELECT a.id, a.broadcast_id, a.moment
FROM send_attempt a JOIN broadcast b ON b.id = a.broadcast_id
WHERE a.content_hash IS DISTINCT FROM b.content_hash
