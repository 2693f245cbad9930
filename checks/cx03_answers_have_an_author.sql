-- CX-3: whatever was answered says who had the answer, and what a rule answered says which.
SELECT i.id, i.answered_by, i.rule_id
FROM inbox_event i
WHERE (i.answered_by = 'none' AND i.reply IS NOT NULL)
   OR (i.answered_by = 'rule') <> (i.rule_id IS NOT NULL)
