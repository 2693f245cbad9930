-- QR-2: the periods of a code's owners do not overlap.
SELECT a.code_id, a.id, b.id AS other
FROM code_owner a
JOIN code_owner b ON b.code_id = a.code_id AND (b.from_at, b.id) > (a.from_at, a.id)
WHERE a.to_at IS NULL OR a.to_at > b.from_at
