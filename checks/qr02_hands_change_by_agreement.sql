-- QR-2: whoever owned a code after somebody else was handed it, at that moment and by a hand-over that was agreed on.
SELECT later.id, later.code_id, later.merchant_id
FROM code_owner later
WHERE EXISTS (SELECT 1 FROM code_owner former
              WHERE former.code_id = later.code_id AND (former.from_at, former.id) < (later.from_at, later.id))
  AND NOT EXISTS (
    SELECT 1 FROM code_handover h
    JOIN code_owner gave ON gave.code_id = h.code_id AND gave.merchant_id = h.from_merchant_id AND gave.to_at = h.effective_at
    WHERE h.code_id = later.code_id AND h.state = 'done' AND h.to_merchant_id = later.merchant_id
      AND h.effective_at = later.from_at)
