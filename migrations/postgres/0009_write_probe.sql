-- `/readyz` and the start of a server write this row, because only a write shows whether the database takes any.
CREATE TABLE write_probes (
  id         BIGINT PRIMARY KEY CHECK (id = 1),
  written_at BIGINT NOT NULL
);
