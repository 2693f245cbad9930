-- BC-14: a batch is called under the one name that its broadcast and number make, an accepted one has the platform's
-- number, and no send that the operator labelled as a stranger's is one of ours.
SELECT b.id, b.state, b.clientmsgid, b.msg_id
FROM send_batch b LEFT JOIN mass_report r ON r.msg_id = b.msg_id
WHERE (b.state IN ('calling', 'accepted', 'unknown', 'rejected')
       AND NOT starts_with(b.clientmsgid, 'qm' || b.broadcast_id || '-' || b.no || '-'))
   OR (b.state = 'accepted' AND b.msg_id IS NULL)
   OR (b.state NOT IN ('accepted', 'rejected', 'unknown') AND b.msg_id IS NOT NULL)
   OR (r.is_foreign AND r.label IS NOT NULL)
