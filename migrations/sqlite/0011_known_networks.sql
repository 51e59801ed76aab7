-- Networks that an account signed in from lately: a flood of guesses from elsewhere does not hold its owner up.
CREATE TABLE known_networks (
  user_id      INTEGER NOT NULL REFERENCES users (id),
  -- An IPv4 address, or the first address of an IPv6 /64.
  network      TEXT NOT NULL,
  signed_in_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_networks_by_age ON known_networks (signed_in_at);
