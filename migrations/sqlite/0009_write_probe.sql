-- `/readyz` and the start of a server write this row, because only a write shows whether the database takes any.
CREATE TABLE write_probes (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  written_at INTEGER NOT NULL
) STRICT;
