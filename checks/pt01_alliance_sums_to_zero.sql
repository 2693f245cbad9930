-- PT-1, PT-6: a transfer of the alliance has two entries, of its payer and its earner, which sum to zero.
SELECT t.id
FROM alliance_transfer t LEFT JOIN alliance_entry e ON e.transfer_id = t.id
GROUP BY t.id, t.payer_id, t.earner_id
HAVING coalesce(sum(e.fen), 0) <> 0 OR count(e.fen) <> 2
    OR count(*) FILTER (WHERE e.party_id IN (t.payer_id, t.earner_id)) <> 2
