-- FA-8: the same person carries different numbers at different merchants.
SELECT follower_id, number
FROM fan
GROUP BY follower_id, number
HAVING count(*) > 1
