-- What was published of ours has at most three buttons, each with an action or with one to five above it (platform §7).
SELECT v.id, button ->> 'name' AS button
FROM menu_version v, jsonb_array_elements(v.buttons) button
WHERE v.state = 'published' AND v.origin IN ('written', 'rolled_back')
  AND (jsonb_array_length(v.buttons) > 3
       OR octet_length(button ->> 'name') > 16
       OR (button ? 'type') = (button ? 'sub_button')
       OR CASE WHEN button ? 'sub_button' THEN jsonb_array_length(button -> 'sub_button') NOT BETWEEN 1 AND 5 ELSE false END)
