-- TN-2: the roles that serve pages own nothing and bypass nothing.
SELECT r.rolname
FROM pg_roles r
WHERE r.rolname IN ('quanma_merchant', 'quanma_fan', 'quanma_platform')
  AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole
       OR EXISTS (SELECT 1 FROM pg_class c WHERE c.relowner = r.oid AND c.relnamespace = 'public'::regnamespace))
