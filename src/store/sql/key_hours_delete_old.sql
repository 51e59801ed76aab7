DELETE FROM key_hours WHERE hour < $1
