-- TN-2: nobody reads a month's partition past the policies of its parent.
SELECT c.relname, r.rolname
FROM pg_class c CROSS JOIN pg_roles r
WHERE c.relispartition AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
  AND r.rolname IN ('quanma_merchant', 'quanma_fan', 'quanma_platform')
  AND has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
