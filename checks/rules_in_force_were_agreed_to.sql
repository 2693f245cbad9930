-- Every rule that answers was agreed to by an operator, hears something, and says something or hands over.
SELECT v.id, v.rule_id
FROM reply_rule_version v
WHERE v.review = 'approved'
  AND (v.reviewed_by IS NULL OR v.reviewed_at IS NULL
       OR (jsonb_array_length(v.patterns) = 0 AND cardinality(v.occasions) = 0)
       OR (NOT v.hands_over AND coalesce(v.answers -> 0 ->> 'text', '') = '' AND coalesce(v.answers -> 0 ->> 'title', '') = ''
           AND v.answers -> 0 ->> 'picture_id' IS NULL))
