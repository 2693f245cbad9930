-- NB-2: every number in the directory is one that a telephone dials: digits, perhaps an extension behind a hyphen.
SELECT id FROM directory_entry WHERE phone !~ '^[0-9]{3,12}(-[0-9]{1,6})?$'
