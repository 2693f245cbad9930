-- NB-4: a word for somebody's trade leads to one category of the directory.
SELECT account_id, lower(word) AS word
FROM directory_category CROSS JOIN LATERAL unnest(ARRAY[name] || aliases) AS word
GROUP BY account_id, lower(word)
HAVING count(DISTINCT id) > 1
