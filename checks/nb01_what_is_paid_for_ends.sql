-- NB-1: whatever is paid for, a position in the directory or a notice, has a beginning and an end within a year.
SELECT id, 'position' AS what
FROM directory_entry
WHERE (paid_from IS NULL) <> (paid_until IS NULL) OR paid_until <= paid_from
   OR paid_until > paid_from + interval '371 days'
UNION ALL
SELECT id, 'notice'
FROM notice
WHERE is_paid AND state <> 'draft'
  AND (shown_until IS NULL OR shown_until <= shown_from OR shown_until > shown_from + interval '371 days')
