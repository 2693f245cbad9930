-- EV-11: what the reconciler found never takes the place of what an event told.
SELECT later.id, later.source, former.source AS former_source
FROM attribution later JOIN attribution former ON former.id = later.supersedes
WHERE former.source = 'event' AND later.source IN ('reconcile', 'implied') AND later.kind <> 'void'
