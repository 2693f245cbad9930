-- CO-10, PT-6: between two merchants stands what a redemption that stands makes its issuer owe whoever redeemed it, never
-- more than the discount, and nothing for one that was taken back.
WITH owed AS (
    SELECT t.redemption_id, t.payer_id, t.earner_id, sum(e.fen) AS fen,
           max(e.fen) FILTER (WHERE NOT t.is_reversal) AS first, count(*) FILTER (WHERE NOT t.is_reversal) AS times
    FROM alliance_transfer t LEFT JOIN alliance_entry e ON e.transfer_id = t.id AND e.party_id = t.earner_id
    GROUP BY t.redemption_id, t.payer_id, t.earner_id)
SELECT o.redemption_id, o.payer_id, o.earner_id, o.fen
FROM owed o JOIN redemption r ON r.id = o.redemption_id
WHERE (o.payer_id, o.earner_id) <> (r.issuer_id, r.merchant_id)
   OR o.times <> 1 OR o.first NOT BETWEEN 1 AND r.discount_fen
   OR o.fen IS DISTINCT FROM CASE WHEN r.reversed_at IS NULL THEN o.first ELSE 0 END
